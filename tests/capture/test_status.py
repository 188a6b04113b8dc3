"""What `midas status` prints."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from midas_ray.capture.answers import Answer, answering, ask_all
from midas_ray.capture.groups import Plan, actor_name, add_symbols, shared_settings
from midas_ray.capture.health import Health
from midas_ray.capture.limits import LimitsState
from midas_ray.capture.status_table import (
    COLUMNS,
    as_document,
    days_left,
    disk_line,
    error_lines,
    healths_of,
    limits_line,
    print_status,
    status_row,
)
from midas_ray.capture.upload import Waiting
from midas_ray.settings import Collect

LIVE = Health(
    symbol="1000pepeusdt",
    state="live",
    pid=1,
    uptime_s=3600.0,
    best_bid=("95000.1", "1"),
    best_ask=("95000.2", "2"),
    age_s={"depth": 0.04},
    frames_per_s=23.4,
    bytes_on_disk=10**9,
    gaps=3,
    silences=2,
    connected=2,
    wins={"b": 25, "a": 75},
    latency_ms={"depth": (8.2, 1190.4)},
)
LIMITS = LimitsState(
    used_weight=115, weight_limit=1920, waiting=0, connections=8, connection_limit=240, waiting_connections=0
)


def test_a_row_says_how_a_symbol_is() -> None:
    assert status_row(LIVE) == [
        *("1000pepeusdt", "live", "95000.1", "95000.2", "0.01", "0.0", "23.4", "3", "2", "2", "75/25", "8/1190")
    ]
    down = Health(symbol="x", state="down", pid=0)
    assert status_row(down) == ["x", "down", "-", "-", "-", "-", "0.0", "0", "0", "0", "-", "-"]
    assert len(COLUMNS) == len(status_row(down))


def test_days_until_the_disk_is_full_are_of_all_symbols() -> None:
    two = [LIVE, replace(LIVE, symbol="b")]  # 2 GB an hour
    assert days_left(two, 480 * 10**9) == pytest.approx(10)
    assert disk_line(two, 480 * 10**9) == "disk: 480.0 GB free, full in 10 days at 48.0 GB a day"
    assert days_left([Health(symbol="b", state="down", pid=0)], 10**9) is None


def test_an_error_of_many_symbols_is_one_line() -> None:
    failed = [Health(symbol=symbol, state="failed", pid=0, error="refused") for symbol in ("aa", "bb")]
    own = Health(symbol="cc", state="failed", pid=0, error="cc: a collector already writes")
    assert error_lines([*failed, LIVE, own]) == ["aa, bb: refused", "cc: a collector already writes"]


def test_limits_are_said_with_what_refuses() -> None:
    assert limits_line("binance-futures", LIMITS) == (
        "binance-futures: request weight 115 of 1920 a minute, 8 of 240 connections in 5 minutes"
    )
    assert limits_line("x", replace(LIMITS, reason="banned")).endswith("; refused: banned")


def test_the_table_fits_100_columns_and_shows_what_is_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    degraded = replace(LIVE, symbol="solusdt", state="degraded", held_bytes=12_300_000, error="no space left")
    print_status([LIVE, degraded], {"binance-futures": LIMITS}, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    table = [line.rstrip() for line in lines[:4]]
    assert max(map(len, table)) <= 100
    assert table[3].split()[:2] == ["solusdt", "degraded"]
    assert table[3].split()[-1] == "12.3"
    assert "2 symbols: 1 live, 1 degraded" in lines
    assert lines[-1] == "solusdt: no space left"
    print_status([LIVE], {}, tmp_path)
    assert "held" not in capsys.readouterr().out


def test_json_has_every_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_status([LIVE], {"binance-futures": LIMITS}, tmp_path, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document.keys() == {"data_dir", "disk", "limits", "symbols"}
    (symbol,) = document["symbols"]
    assert (symbol["symbol"], symbol["best_bid"], symbol["wins"]) == ("1000pepeusdt", ["95000.1", "1"], LIVE.wins)
    assert symbol["spread_bps"] == LIVE.spread_bps
    assert as_document([LIVE], {"binance-futures": LIMITS}, 480 * 10**9, tmp_path)["disk"][
        "days_left"
    ] == pytest.approx(20)


def test_every_symbol_of_the_plan_has_a_health(tmp_path: Path) -> None:
    plan = add_symbols(Plan(), ["aa", "bb", "cc"], shared_settings(Collect(symbols_per_collector=1)))
    first, second, _ = (actor_name(tmp_path, group) for group in plan.groups)
    live, elsewhere = replace(LIVE, symbol="aa"), replace(LIVE, symbol="zz")
    answers: dict[str, list[Health] | None] = {first: [live], second: None, "collector:x.other": [elsewhere]}
    healths = healths_of(tmp_path, plan, answers)
    assert [(health.symbol, health.state) for health in healths] == [
        *(("aa", "live"), ("bb", "silent"), ("cc", "down"), ("zz", "live"))
    ]
    assert [health.error for health in healths[1:3]] == [
        f"{second} does not answer",
        "no collector runs; run midas up",
    ]


def test_collectors_answer_at_their_sockets(tmp_path: Path) -> None:
    async def ask() -> dict[str, Answer | None]:
        async def answer() -> Answer:
            return Answer([LIVE], "binance-futures", LIMITS)

        (tmp_path / "collector:dead.sock").touch()
        (tmp_path / "collector:live.sock").touch()  # left by one that was killed
        async with answering(tmp_path, "collector:live", answer):
            return await asyncio.to_thread(ask_all, tmp_path)

    answers = asyncio.run(ask())
    assert answers == {"collector:dead": None, "collector:live": Answer([LIVE], "binance-futures", LIMITS)}
    assert not (tmp_path / "collector:live.sock").exists()


def test_what_a_spool_holds_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = Waiting(files=2, n_bytes=1500, growing=1)
    print_status([LIVE], {}, tmp_path, left)
    assert "spool: 2 sealed raw files (1.5 kB) not uploaded yet, 1 growing" in capsys.readouterr().out
    assert as_document([LIVE], {}, 0, tmp_path, left)["not_uploaded"] == {"files": 2, "n_bytes": 1500, "growing": 1}
