"""`midas up`, `status`, `down` with a real head node, as processes; and what they say where nothing runs."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.desired import read_plan, write_plan
from midas_ray.capture.groups import Plan, add_symbols, pin, shared_settings
from midas_ray.capture.service import choose_symbols, prepare
from midas_ray.cli import main
from midas_ray.settings import Collect, Up
from tests.capture.running import MIDAS, PLAIN_ENVIRONMENT, journals, raw_lines, serving_exchange


@pytest.fixture
def exchange_url() -> Iterator[str]:
    with serving_exchange(["btcusdt", "ethusdt"]) as url:
        yield url


def _midas(*arguments: str) -> tuple[int, str, str]:
    run = subprocess.run(
        [MIDAS, *arguments], capture_output=True, text=True, env=PLAIN_ENVIRONMENT, timeout=120, check=False
    )
    return run.returncode, run.stdout, run.stderr


def _session_pids(session_id: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getsid(int(entry.name)) == session_id:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for left processes in /proc")
def test_up_status_down(exchange_url: str, tmp_path: Path) -> None:
    data = ["--data-dir", str(tmp_path)]
    start = ["up", *data, "--exchange-url", exchange_url, "--dashboard-port", str(_free_port())]
    session_id = None
    try:
        code, out, err = _midas(*start)
        assert (code, err) == (0, "")
        assert "btcusdt: collector started, live" in out
        head = json.loads((tmp_path / ".midas" / "head.json").read_text())
        session_id = head["session_id"]
        assert f"dashboard {head['dashboard_url']}" in out
        assert head["gcs_address"].startswith("127.0.0.1:")

        code, out, err = _midas(*start, "--symbols", "btcusdt,ethusdt")  # added to what runs
        assert (code, err) == (0, "")
        assert "btcusdt: collector runs already, live" in out
        assert "ethusdt: collector started, live" in out
        assert json.loads((tmp_path / ".midas" / "head.json").read_text()) == head

        code, out, err = _midas("status", *data, "--json")
        assert (code, err) == (0, "")
        btc, eth = json.loads(out)["symbols"]
        assert (btc["symbol"], btc["state"], eth["symbol"], eth["state"]) == ("btcusdt", "live", "ethusdt", "live")
        assert btc["pid"] == eth["pid"]
        _metrics_are_served(head["temp_dir"])

        os.kill(int((tmp_path / ".midas" / "head.pid").read_text()), signal.SIGKILL)
        _until(lambda: not Path("/proc", str(btc["pid"])).exists(), "the collector's end with its head")
        code, out, err = _midas("status", *data)
        assert (code, out, err) == (1, "", f"nothing runs for {tmp_path}; start it with midas up\n")
        code, out, err = _midas(*start)  # in place of the dead head, and again with what it collected
        assert (code, err) == (0, "")
        assert "btcusdt: collector started, live" in out
        assert "ethusdt: collector started, live" in out
        assert _session_pids(session_id) == []
        assert not Path(head["temp_dir"]).exists()
        head = json.loads((tmp_path / ".midas" / "head.json").read_text())
        session_id = head["session_id"]

        code, out, err = _midas("down", *data, "--symbols", "btcusdt")
        assert (code, err) == (0, "")
        assert raw_lines(journals(tmp_path)[-1])[-1]["reason"] == "no longer wanted"
        code, out, err = _midas("status", *data)
        assert (code, err) == (0, "")
        assert any(line.split()[:2] == ["ethusdt", "live"] for line in out.splitlines())
        assert f"{exchange_url}: request weight" in out
        assert "btcusdt" not in out
        assert "free" in out
    finally:
        code, out, err = _midas("down", *data)
    assert (code, err) == (0, "")
    assert "stopped, " in out
    assert "midas up starts again: ethusdt" in out
    assert session_id is not None
    assert _session_pids(session_id) == []
    assert not Path(head["temp_dir"]).exists()
    assert [path.name for path in sorted((tmp_path / ".midas").iterdir())] == ["collectors.json", "head.lock"]
    assert raw_lines(journals(tmp_path, "ethusdt")[-1])[-1]["reason"] == "midas down"
    assert not list(tmp_path.rglob("*.open"))


def _metrics_are_served(temp_dir: str) -> None:
    """Every node's address stands where Prometheus looks for it."""
    found = json.loads(Path(temp_dir, "prom_metrics_service_discovery.json").read_text())
    addresses = [address for entry in found for address in entry["targets"]]
    seen: set[str] = set()

    def served() -> bool:
        for address in addresses:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            lines = [line for line in text.splitlines() if line.startswith("ray_midas_") and 'symbol="ethusdt"' in line]
            seen.update(line.partition("{")[0] for line in lines if float(line.rpartition(" ")[2]) > 0)
        return seen >= {"ray_midas_frames_total", "ray_midas_bytes_total", "ray_midas_state", "ray_midas_connections"}

    _until(served, "metrics of the collector")


def _until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.2)


def test_a_symbol_of_a_foreground_collector_is_refused(
    exchange_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with claim_symbol(tmp_path, "binance-futures", "btcusdt"):
        before = sorted(tmp_path.rglob("*"))
        assert main(["up", "--data-dir", str(tmp_path), "--exchange-url", exchange_url]) == 2
        assert sorted(tmp_path.rglob("*")) == before
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert f"btcusdt: a collector already writes under {tmp_path} (process {os.getpid()})" in err


def test_another_layout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw" / "btcusdt" / "2025-01-01").mkdir(parents=True)
    assert main(["up", "--data-dir", str(tmp_path)]) == 2
    assert "raw/btcusdt: expected raw/venue=VENUE/symbol=SYMBOL/date=DATE, found the layout" in capsys.readouterr().err
    assert not (tmp_path / ".midas").exists()


def test_a_symbol_is_taken_off_where_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    down = ["down", "--data-dir", str(tmp_path), "--symbols"]
    assert main([*down, "btcusdt"]) == 2
    assert f"are collected into {tmp_path} (none), found btcusdt" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    settings = shared_settings(Collect())
    plan = add_symbols(Plan(), ["aa", "bb", "cc", "dd"], settings)
    write_plan(tmp_path, pin(plan, "binance-futures", "top:2", ("cc", "dd")))
    assert main([*down, "aa,xx"]) == 2
    assert "(aa, bb, cc, dd), found xx" in capsys.readouterr().err
    assert main([*down, "aa"]) == 0
    assert main([*down, "top:2"]) == 0
    assert read_plan(tmp_path) == add_symbols(Plan(), ["bb"], settings)


def test_the_environment_does_not_name_what_is_taken_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYMBOLS", "aa")
    write_plan(tmp_path, add_symbols(Plan(), ["aa"], shared_settings(Collect())))
    assert main(["down", "--data-dir", str(tmp_path)]) == 0
    assert "nothing runs" in capsys.readouterr().out
    assert read_plan(tmp_path).symbols == ("aa",)


def test_what_an_older_version_collected_is_taken_over(tmp_path: Path) -> None:
    record = tmp_path / ".midas" / "head.json"
    record.parent.mkdir()
    fields = {"gcs_address": "127.0.0.1:1", "dashboard_url": "x", "temp_dir": str(tmp_path / "gone"), "session_id": 1}
    record.write_text(json.dumps({**fields, "symbols": {"aa": "binance-spot", "bb": "binance-futures"}}))
    plan, began = prepare(tmp_path, Up(), ("cc",), running=set())
    assert {name: group.symbols for name, group in plan.groups.items()} == {
        "binance-spot-1": ("aa",),
        "binance-futures-1": ("bb", "cc"),
    }
    assert began == {"aa", "bb", "cc"}


def test_without_symbols_what_was_kept_is_started_again(exchange_url: str, tmp_path: Path) -> None:
    assert choose_symbols(tmp_path, Up(exchange_url=exchange_url)) == ("btcusdt",)
    write_plan(tmp_path, add_symbols(Plan(), ["delisted"], shared_settings(Collect())))
    assert choose_symbols(tmp_path, Up(exchange_url=exchange_url)) is None
    asked = Up(exchange_url=exchange_url, symbols=("ethusdt", "delisted"))
    assert choose_symbols(tmp_path, asked) == ("ethusdt", "delisted")
    top = Up(exchange_url=exchange_url, symbols=("top:2",))
    found = choose_symbols(tmp_path, top)
    assert found is not None
    assert set(found) == {"btcusdt", "ethusdt"}
    plan, _ = prepare(tmp_path, top, found, running=set())
    write_plan(tmp_path, plan)
    assert choose_symbols(tmp_path, Up(exchange_url="http://127.0.0.1:1", symbols=("top:2",))) == found


def test_where_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--data-dir", str(tmp_path)]) == 1
    assert f"nothing runs for {tmp_path}; start it with midas up" in capsys.readouterr().err
    assert main(["down", "--data-dir", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_before_the_reboot_is_no_running_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its session id belongs to somebody else now: nothing of theirs is touched."""
    record = tmp_path / ".midas" / "head.json"
    record.parent.mkdir()
    fields = {"gcs_address": "127.0.0.1:1", "dashboard_url": "x", "temp_dir": str(tmp_path / "ray-gone")}
    record.write_text(json.dumps({**fields, "session_id": os.getsid(0), "symbols": {"btcusdt": "binance-futures"}}))
    assert main(["status", "--data-dir", str(tmp_path)]) == 1
    assert "nothing runs" in capsys.readouterr().err
    assert main(["down", "--data-dir", str(tmp_path)]) == 0
    assert not record.exists()


@pytest.mark.parametrize(
    ("flags", "expected", "said"),
    [
        (["--symbols", "nope"], 1, "does not list 'nope'"),
        (["--duration", "5s"], 2, "--duration: a detached collector runs until midas down"),
        (["--dashboard-port", "TAKEN"], 2, "expected a free port, found it taken"),
        (["--dashboard-port", "0"], 2, "--dashboard-port: input should be greater than or equal to 1, found '0'"),
    ],
)
def test_a_wrong_up_is_one_line_and_starts_nothing(
    exchange_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], expected: int, said: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        filled = [str(taken.getsockname()[1]) if flag == "TAKEN" else flag for flag in flags]
        data = tmp_path / "data"
        code = main(["up", "--data-dir", str(data), "--exchange-url", exchange_url, *filled])
    out, err = capsys.readouterr()
    assert (code, out, len(err.splitlines())) == (expected, "", 1), err
    assert said in err
    assert not list(data.rglob("*"))
