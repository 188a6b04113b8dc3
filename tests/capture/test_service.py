"""`midas up`, `status`, `down` with a real head node, as processes; and what they say where nothing runs."""

import asyncio
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from midas_ray.cli import main
from midas_ray.simulate.exchange import SimulatedExchange
from tests.capture.running import MIDAS, journals, raw_lines

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


@pytest.fixture
def exchange_url() -> Iterator[str]:
    """A simulated exchange on a thread of its own, so that the test can wait for processes."""
    ready, stop, url = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async with SimulatedExchange(["btcusdt"], seed=2, keep_referee=False) as exchange:
            url.append(exchange.url)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(60)
    yield url[0]
    stop.set()
    thread.join()


def _midas(*arguments: str) -> tuple[int, str, str]:
    run = subprocess.run([MIDAS, *arguments], capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
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

        code, out, err = _midas(*start)  # idempotent
        assert (code, err) == (0, "")
        assert "btcusdt: collector runs already, live" in out
        assert json.loads((tmp_path / ".midas" / "head.json").read_text()) == head

        code, out, err = _midas("status", *data)
        assert (code, err) == (0, "")
        assert any(line.split()[:2] == ["btcusdt", "live"] for line in out.splitlines())
        assert "free" in out
    finally:
        code, out, err = _midas("down", *data)
    assert (code, err) == (0, "")
    assert "btcusdt: collector stopped, 1 files sealed" in out
    assert session_id is not None
    assert _session_pids(session_id) == []
    assert not Path(head["temp_dir"]).exists()
    assert not (tmp_path / ".midas" / "head.json").exists()
    (path,) = journals(tmp_path)
    assert raw_lines(path)[-1]["reason"] == "midas down"
    assert not list(tmp_path.rglob("*.open"))


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
