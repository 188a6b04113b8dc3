"""`midas collect` as a process: signals, SIGKILL, wrong starts."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio

from midas_ray.cli import main
from midas_ray.simulate.exchange import SimulatedExchange
from tests.capture.running import MIDAS, frame_numbers, journals, raw_lines, until
from tests.capture.scripted import ScriptedExchange

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("SYMBOLS", "SYMBOL", "DATA_DIR")}


@pytest_asyncio.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with SimulatedExchange(["btcusdt"], seed=5, keep_referee=False) as running:
        yield running


async def _midas(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(MIDAS, *arguments, stdout=pipe, stderr=pipe, env=ENVIRONMENT)


async def _ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _snapshot_is_in(paths: Iterable[Path]) -> bool:
    return any(path.exists() and path.stat().st_size > 8000 for path in paths)


def _growing(root: Path) -> list[Path]:
    return [path for path in root.rglob("*.open") if path.stat().st_size > 0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_in_good_order(
    exchange: SimulatedExchange, tmp_path: Path, number: signal.Signals
) -> None:
    process = await _midas("collect", "--data-dir", str(tmp_path), "--exchange-url", exchange.url)
    await until(lambda: bool(_growing(tmp_path)), "a flushed file", 60)
    process.send_signal(number)
    code, out, err = await _ended(process)
    assert (code, err) == (0, "")
    (path,) = journals(tmp_path)
    lines = raw_lines(path)
    numbers = frame_numbers(lines)
    assert numbers == list(range(1, len(numbers) + 1))
    assert (lines[-1]["event"], lines[-1]["reason"]) == ("shutdown", number.name)
    assert f"btcusdt: {sum(line['kind'] == 'ws' for line in lines)} frames" in out
    assert path.name in out
    assert not list(tmp_path.rglob("*.open"))


async def test_after_a_kill_the_next_one_seals_and_goes_on_in_a_new_file(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    arguments = ["collect", "--data-dir", str(tmp_path), "--exchange-url", exchange.url]
    first = await _midas(*arguments)
    await until(lambda: _snapshot_is_in(_growing(tmp_path)), "a flushed snapshot", 60)
    second = await _midas(*arguments, "--duration", "1s")
    code, _, err = await _ended(second)
    assert code == 2
    assert f"btcusdt: a collector already writes under {tmp_path} (process {first.pid})" in err
    assert len(err.splitlines()) == 1
    first.kill()
    await first.wait()
    (left,) = _growing(tmp_path)
    third = await _midas(*arguments, "--duration", "10m")
    await until(lambda: _snapshot_is_in(set(_growing(tmp_path)) - {left}), "the new file's snapshot", 60)
    third.terminate()
    code, out, err = await _ended(third)
    assert code == 0, err
    assert f"sealed a file that an earlier collector left open: {left.with_suffix('')}" in err
    before, after = journals(tmp_path)
    assert before == left.with_suffix("")
    lines = raw_lines(before)
    assert frame_numbers(lines) == list(range(1, len(frame_numbers(lines)) + 1))
    assert any(line["kind"] == "rest" for line in lines)
    assert raw_lines(after)[-1]["reason"] == "SIGTERM"
    assert str(after.relative_to(tmp_path)) in out


async def test_a_wrong_start_is_one_line_and_leaves_nothing(
    exchange: SimulatedExchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    data = tmp_path / "data"
    nobody = f"http://127.0.0.1:{_closed_port()}"
    cases = [
        (["--symbols", "nope", "--exchange-url", exchange.url], 1, "does not list 'nope'"),
        (["--exchange-url", nobody], 1, "cannot reach the exchange (connection refused)"),
        (["--exchange-url", exchange.url, "--data-dir", str(tmp_path / "file/x")], 1, "expected a writable folder"),
        (["--symbols", "", "--exchange-url", exchange.url], 2, "--symbols: expected at least one symbol"),
        (["--exchange-url", "nowhere"], 2, "--exchange-url: expected http://HOST:PORT"),
        (["--duration", "soon"], 2, "--duration: expected a duration such as 30s"),
    ]
    for flags, expected, said in cases:
        code = await asyncio.to_thread(main, ["collect", "--data-dir", str(data), "--duration", "1s", *flags])
        out, err = capsys.readouterr()
        assert (code, out, len(err.splitlines())) == (expected, "", 1), (flags, err)
        assert said in err
    assert not data.exists()


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_never_live_is_no_success(tmp_path: Path) -> None:
    """An exchange whose sockets stay silent: the files stay, the exit code says what was missing."""
    async with ScriptedExchange() as silent:
        arguments = ["--exchange-url", silent.url, "--data-dir", str(tmp_path), "--duration", "1s"]
        code, out, err = await _ended(await _midas("collect", *arguments))
    assert code == 1
    assert "btcusdt: expected a live book, found none in the whole run" in err
    (path,) = journals(tmp_path)
    assert path.name in out
