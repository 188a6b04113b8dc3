"""The cluster benchmark, small: its floor by hand, tasks on several nodes, quiet symbols on a head."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cluster_collectors import load_server, midas, symbols_of
from benchmarks.cluster_tasks import list_scheduled_s, naps

REPOSITORY = Path(__file__).parents[2]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_floor_by_hand() -> None:
    assert list_scheduled_s([3.0, 1.0, 1.0, 2.0], slots=2) == 4.0  # 3 | 1 1 2
    assert list_scheduled_s([1.0, 1.0, 3.0], slots=2) == 4.0, "in this order, not the best one"
    assert list_scheduled_s([2.0], slots=9) == 2.0
    assert naps(3, seed=7) == naps(3, seed=7)
    assert all(0.5 <= task.seconds <= 1.5 for task in naps(100, seed=7))


def test_tasks_on_two_nodes(tmp_path: Path) -> None:
    """Every task ran, none faster than its sleep, so that nothing can be below the floor."""
    sizes = ("--tasks", "24", "--slots", "4", "--nodes", "2", "--rounds", "1", "--symbols", "0")
    command = [sys.executable, "-m", "benchmarks.cluster", *sizes, "--json", str(tmp_path / "rows.json")]
    subprocess.run(command, check=True, cwd=REPOSITORY, timeout=300)
    rows = {row["what"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert len(rows) == 4
    assert rows["24 tasks that sleep 0.5 to 1.5 s"]["ratio"] >= 1.0
    assert rows["24 tasks that sleep 0.5 to 1.5 s"]["value"] >= sum(task.seconds for task in naps(24, seed=7)) / 4


@pytest.mark.long
def test_forty_quiet_symbols_in_two_collectors(tmp_path: Path) -> None:
    symbols, data = symbols_of(40), ("--data-dir", str(tmp_path / "data"))
    quiet = ("--no-enable-klines", "--no-enable-mark-price", "--no-enable-liquidations", "--snapshot-limit", "50")
    with load_server(len(symbols)) as url:
        try:
            midas(
                "up", "--symbols", ",".join(symbols), "--exchange-url", url, *quiet, *data, "--dashboard-port", "8766"
            )
            _, answer = midas("status", "--json", *data)
        finally:
            midas("down", *data)
    told = json.loads(answer)
    assert {symbol["symbol"]: symbol["state"] for symbol in told["symbols"]} == dict.fromkeys(symbols, "live")
    assert {symbol["collector"] for symbol in told["symbols"]} == {"binance-futures-1", "binance-futures-2"}
    (limits,) = told["limits"].values()
    assert limits["connections"] == 4, "two for each collector"
    assert limits["used_weight"] >= 2 * len(symbols), "a snapshot of each"
    for symbol in symbols:
        assert list((tmp_path / "data" / "raw").glob(f"*/symbol={symbol}/*/[!.]*.jsonl.zst")), symbol
