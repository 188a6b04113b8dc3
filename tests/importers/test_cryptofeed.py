import json
from pathlib import Path

import pytest

from midas_ray.importers.entries import split_cryptofeed
from tests.importers.captures import journal, payloads, run, session, snapshot, stamp, trade, written

Capsys = pytest.CaptureFixture[str]
URL = "wss://fstream.binance.com/stream?streams=btcusdt@depth@100ms/btcusdt@trade"


def ws_file(path: Path, symbols: tuple[str, ...] = ("btcusdt", "ethusdt"), *, middle: str = "") -> str:
    """A WebSocket capture of several symbols; `middle` are lines put in its middle."""
    frames = [frame for symbol in symbols for frame in session(symbol) if "stream" in frame[1]]
    lines = [f"{stamp(ms, 's')}: {json.dumps(body)}" for ms, body in sorted(frames, key=lambda frame: frame[0])]
    half = len(lines) // 2
    middle_lines = middle.splitlines()
    path.write_text("\n".join([f"{URL} <-> {stamp(-50, 's')}", *lines[:half], *middle_lines, *lines[half:]]) + "\n")
    return str(path)


def http_file(path: Path, symbols: tuple[str, ...] = ("btcusdt", "ethusdt")) -> str:
    lines = ["configuration: {}"]
    for symbol in symbols:
        url = f"https://fapi.binance.com/fapi/v1/depth?symbol={symbol.upper()}&limit=1000"
        lines.append(f"{url} -> {stamp(2500, 's')}: {json.dumps(snapshot(2500, 25)[1])}")
    lines.append(f'https://fapi.binance.com/fapi/v1/exchangeInfo -> {stamp(3000, "s")}: {{"symbols":[]}}')
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_kinds_of_lines() -> None:
    assert split_cryptofeed(b'1626992741.06217: {"a":1}') == ("ws", b"1626992741.06217", b'{"a":1}', "")
    assert split_cryptofeed(b"wss://x/stream?a=b <-> 1626992740.1") == (
        "connect",
        b"1626992740.1",
        b"",
        "wss://x/stream?a=b",
    )
    rest = split_cryptofeed(b'https://x/depth?symbol=A -> 1626992740.1: {"b": "c -> d: e"}')
    assert rest == ("rest", b"1626992740.1", b'{"b": "c -> d: e"}', "https://x/depth?symbol=A")
    assert split_cryptofeed(b'wss://x <- 1626992740.1: {"method":"SUBSCRIBE"}').kind == "skip"
    assert split_cryptofeed(b"configuration: {...}").kind == "skip"
    with pytest.raises(ValueError, match="neither"):
        split_cryptofeed(b"hello")


def test_symbols_are_told_apart_and_snapshots_go_to_their_own(tmp_path: Path, capsys: Capsys) -> None:
    paths = [ws_file(tmp_path / "F.ws.1.0"), http_file(tmp_path / "F.http.0.0")]
    assert run(tmp_path, "cryptofeed", *paths) == 0
    for symbol in ("btcusdt", "ethusdt"):
        lines = journal(tmp_path, symbol)
        assert payloads(lines) == [body for _, body in session(symbol)]
        (rest,) = (line for line in lines if line["kind"] == "rest")
        assert rest["path"] == f"/fapi/v1/depth?symbol={symbol.upper()}&limit=1000"
        (connect,) = (line for line in lines if line.get("event") == "connect")
        assert connect["url"] == URL
        assert not [line for line in lines if line.get("event") in ("gap", "disconnect")]
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told] == ["btcusdt", "ethusdt"]
    assert "40 frames (depth 30, trade 10), depth snapshots 1" in told[0]
    assert "timestamps in s, local clock +0.012 s" in told[0]


def test_choice_of_symbols(tmp_path: Path) -> None:
    paths = [ws_file(tmp_path / "F.ws.1.0"), http_file(tmp_path / "F.http.0.0")]
    assert run(tmp_path, "cryptofeed", *paths, "--symbols", "ethusdt") == 0
    assert not journal(tmp_path, "btcusdt")
    assert journal(tmp_path, "ethusdt")


def test_reconnection_is_in_the_journal(tmp_path: Path) -> None:
    again = f"{URL} <-> {stamp(14_900, 's')}"
    paths = [ws_file(tmp_path / "F.ws.1.0", middle=again), http_file(tmp_path / "F.http.0.0")]
    assert run(tmp_path, "cryptofeed", *paths) == 0
    events = [line["event"] for line in journal(tmp_path) if line["kind"] == "event"]
    assert events == ["unsynced", "open", "connect", "disconnect", "connect", "shutdown"]


def test_a_symbol_without_snapshot_is_refused_but_can_be_left_out(tmp_path: Path, capsys: Capsys) -> None:
    paths = [ws_file(tmp_path / "F.ws.1.0"), http_file(tmp_path / "F.http.0.0", ("btcusdt",))]
    assert run(tmp_path, "cryptofeed", *paths) == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert told.err.startswith("ethusdt: expected a REST depth snapshot")
    assert not (tmp_path / "data").exists() or not written(tmp_path)
    assert run(tmp_path, "cryptofeed", *paths, "--symbols", "btcusdt") == 0


def test_lines_given_as_cryptofeed(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "x").write_text(f"{stamp(0, 'ns')} {json.dumps(trade(0, 1)[1])}\n")
    assert run(tmp_path, "cryptofeed", str(tmp_path / "x")) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "line 1: expected" in told


def test_capture_of_another_exchange(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "x").write_text(f'wss://ws.kraken.com <-> {stamp(0, "s")}\n{stamp(1, "s")}: {{"event":"heartbeat"}}\n')
    assert run(tmp_path, "cryptofeed", str(tmp_path / "x")) == 1
    assert "expected market data of the venue" in capsys.readouterr().err
