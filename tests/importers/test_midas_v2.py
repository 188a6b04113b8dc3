import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.importers.archives import START_US, clean, table
from tests.importers.captures import journal, run, written

Capsys = pytest.CaptureFixture[str]
Record = dict[str, Any]
HEADER = {"_header": {"version": "2.0", "symbol": "btcusdt", "connection_id": 0, "streams": {"depth": True}}}
FOOTER = {"_footer": {"closed_at": "2026-01-01T00:00:20+00:00", "stats": {"total_messages": 9, "dropped_messages": 3}}}


def depth(at: int, symbol: str = "BTCUSDT") -> Record:
    us = START_US + at * 100_000
    ids = {"first_update_id": at * 10 + 1, "last_update_id": at * 10 + 10, "prev_update_id": at * 10}
    head = {"exchange_ts": us // 1000 * 1000, "local_ts": us + 5123, "type": "depth", "symbol": symbol}
    return {**head, **ids, "bids": [["100.10", "1.500"]], "asks": [["100.20", "0.000"]]}


def trade(at: int, symbol: str = "BTCUSDT") -> Record:
    us = START_US + at * 100_000
    body = {"trade_id": 500 + at, "price": "100.10", "quantity": "0.020", "buyer_is_maker": at % 2 == 0}
    return {"exchange_ts": us, "local_ts": us + 9876, "type": "trade", "symbol": symbol, "trade": body}


def liquidation(at: int, status: str = "FILLED") -> Record:
    us = START_US + at * 100_000
    body = {"side": "SELL", "price": "99.00", "quantity": "2.5", "avg_price": "99.50", "status": status}
    return {"exchange_ts": us, "local_ts": us + 100, "type": "liquidation", "symbol": "BTCUSDT", "liquidation": body}


def kline(at: int) -> Record:
    us = START_US + at * 100_000
    body = {"interval": "1m", "open": "1", "high": "2", "low": "1", "close": "2", "volume": "3", "trades": 4}
    return {
        "exchange_ts": us,
        "local_ts": us,
        "type": "kline",
        "symbol": "BTCUSDT",
        "kline": {**body, "is_final": True},
    }


def session(count: int = 20) -> list[Record]:
    return [record for at in range(count) for record in (depth(at), trade(at))]


def put(path: Path, records: list[Record], *, cut: int = 0) -> str:
    """A file as the original writes it, `cut` bytes short."""
    lines = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    data = compressor.compress(lines) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    data += compressor.compress(b'{"exchange_ts":17672256') + compressor.flush() if cut else compressor.flush()
    path.write_bytes(data[: len(data) - cut])
    return str(path)


def refused(root: Path, capsys: Capsys, path: str, *arguments: str, code: int = 1) -> str:
    capsys.readouterr()
    assert run(root, "midas-v2", path, *arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, told.err
    data = root / "data"
    assert not data.exists() or not list(data.rglob("*"))
    return told.err


def test_records_become_the_exchanges_messages(tmp_path: Path, capsys: Capsys) -> None:
    assert run(tmp_path, "midas-v2", put(tmp_path / "btcusdt_20260101_000005.jsonl.zst", session())) == 0
    told = capsys.readouterr().out
    assert told.startswith("btcusdt: 40 messages (depth 20, trade 20), whole books 0; 2026-01-01 00:00:05 to ")
    assert "timestamps in us, local clock +0.00" in told
    assert "no whole book to start from: the book stays `syncing`, and what needs it is null" in told
    assert "whole books (the original's collector kept no REST snapshot)" in told
    lines = journal(tmp_path)
    opened = next(line for line in lines if line.get("event") == "open")
    assert (opened["imported_from"], opened["payloads"]) == ("midas-v2", "rebuilt")
    first, second = [line for line in lines if line["kind"] == "ws"][:2]
    assert (first["recv_ns"], second["recv_ns"]) == ((START_US + 5123) * 1000, (START_US + 9876) * 1000)
    assert first["payload"]["data"] == {
        **{"e": "depthUpdate", "E": START_US // 1000, "T": START_US // 1000, "s": "BTCUSDT", "U": 1, "u": 10, "pu": 0},
        **{"b": [["100.10", "1.500"]], "a": [["100.20", "0.000"]]},
    }
    clean(tmp_path)
    assert table(tmp_path, "book")["state"].unique().to_list() == ["syncing"]
    trades = table(tmp_path, "trades")
    assert trades["trade_id"].to_list() == list(range(500, 520))
    assert trades.select("px", "qty", "side").rows()[:2] == [(100.1, 0.02, "sell"), (100.1, 0.02, "buy")]
    assert trades["ts"].dt.epoch("us").to_list() == [START_US + at * 100_000 for at in range(20)]


def test_version_2_with_its_header_footer_and_other_records(tmp_path: Path, capsys: Capsys) -> None:
    odd = {**trade(3), "type": "openInterest"}
    records = [HEADER, *session(), liquidation(4), liquidation(5, "PARTIALLY_FILLED"), kline(6), odd, FOOTER]
    records[1] = {**records[1], "meta": {"sequence_gap": True, "best_bid": 100.1}}
    assert run(tmp_path, "midas-v2", put(tmp_path / "a.jsonl.zst", records)) == 0
    told = capsys.readouterr().out
    assert "(depth 20, trade 20, forceOrder 1)" in told
    assert "1 klines left out" in told
    assert "1 liquidations left out that were not FILLED" in told
    assert "1 records of type 'openInterest' left out" in told
    assert "3 messages that the collector itself dropped" in told
    clean(tmp_path)
    assert table(tmp_path, "liquidations").select("side", "px", "qty").rows() == [("sell", 99.5, 2.5)]


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_file_of_a_killed_collector_gives_its_whole_lines(tmp_path: Path, capsys: Capsys, cut: int) -> None:
    assert run(tmp_path, "midas-v2", put(tmp_path / "a.jsonl.zst", session(), cut=cut)) == 0
    told = capsys.readouterr().out
    assert told.startswith("btcusdt: 40 messages")
    assert "1 file cut off at its end: its whole lines are kept, up to 5 s of records are lost" in told


def test_files_in_any_order_and_again(tmp_path: Path, capsys: Capsys) -> None:
    records = session(40)
    parts = [records[:30], records[30:]]
    paths = [put(tmp_path / f"{at}.jsonl.zst", part) for at, part in enumerate(parts)]
    assert run(tmp_path, "midas-v2", *reversed(paths)) == 0
    names = written(tmp_path)
    capsys.readouterr()
    assert run(tmp_path, "midas-v2", *paths) == 0
    assert capsys.readouterr().out == "btcusdt: already imported from the same files; nothing to do\n"
    assert written(tmp_path) == names
    clean(tmp_path)
    assert table(tmp_path, "trades")["trade_id"].to_list() == list(range(500, 540))
    assert not len(table(tmp_path, "gaps"))


def test_lost_trades_are_in_the_ledger(tmp_path: Path) -> None:
    records = [record for record in session() if record.get("trade", {}).get("trade_id") not in (507, 508)]
    run(tmp_path, "midas-v2", put(tmp_path / "a.jsonl.zst", records))
    clean(tmp_path)
    (gap,) = table(tmp_path, "gaps").iter_rows(named=True)
    assert (gap["stream"], gap["expected_id"], gap["found_id"]) == ("trade", 507, 509)


def test_trades_without_a_price_are_no_prints_but_their_ids_count(tmp_path: Path) -> None:
    records = session()
    records[7]["trade"].update(price="0", quantity="0")
    run(tmp_path, "midas-v2", put(tmp_path / "a.jsonl.zst", records))
    clean(tmp_path)
    assert table(tmp_path, "trades")["trade_id"].to_list() == [at for at in range(500, 520) if at != 503]
    assert not len(table(tmp_path, "gaps"))


def test_symbols(tmp_path: Path) -> None:
    records = [record for at in range(5) for record in (trade(at), trade(at, "ETHUSDT"))]
    path = put(tmp_path / "a.jsonl.zst", records)
    assert run(tmp_path, "midas-v2", path, "--symbol", "ethusdt") == 0
    assert not journal(tmp_path)
    assert len([line for line in journal(tmp_path, "ethusdt") if line["kind"] == "ws"]) == 5


Edit = Callable[[Record], Any]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda record: record.update(exchange_ts=record["exchange_ts"] // 1000),
            "is no time from 2009 to 2100 in micros",
        ),
        (lambda record: record.pop("local_ts"), "local_ts 0 is no time"),
        (lambda record: record.pop("trade"), "a trade record without its trade"),
        (lambda record: record["trade"].update(price="NaN"), "price 'NaN' is no plain decimal number above 0"),
        (lambda record: record["trade"].update(quantity="-1"), "quantity '-1' is no plain decimal number above 0"),
        (lambda record: record.update(type="depth"), "a depth record without its ids or sides"),
        (lambda record: record.pop("symbol"), "no symbol or no type"),
        (lambda record: record.update(trade=[1]), "line 4"),
    ],
)
def test_bad_records_are_refused_in_one_line(tmp_path: Path, capsys: Capsys, edit: Edit, said: str) -> None:
    records = session()
    edit(records[3])
    assert said in refused(tmp_path, capsys, put(tmp_path / "a.jsonl.zst", records))


@pytest.mark.parametrize("level", [["0", "1"], ["100", "-1"], ["NaN", "1"], ["100", "1e5"]])
def test_bad_levels_are_refused_in_one_line(tmp_path: Path, capsys: Capsys, level: list[str]) -> None:
    records = session()
    records[4]["bids"] = [level]
    assert "btcusdt: expected numbers and ids that a book takes" in refused(
        tmp_path, capsys, put(tmp_path / "a.jsonl.zst", records)
    )


def test_damaged_and_foreign_files(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "a.jsonl.zst"
    put(path, session(400))
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 0xFF]) + data[41:])
    refused(tmp_path, capsys, str(path))
    path.write_bytes(data[:12])
    assert "cut off before its first whole line" in refused(tmp_path, capsys, str(path))
    for content in (b"", b"{}", b"\x1f\x8b"):
        path.write_bytes(content)
        assert "found no Zstandard data" in refused(tmp_path, capsys, str(path))
    assert "found no record" in refused(tmp_path, capsys, put(path, [HEADER]))
    for content in (b"hello\n", b"{}\n", b"[1]\n", b"\xff\xfe\n"):
        path.write_bytes(zstandard.ZstdCompressor().compress(content))
        assert "line 1: expected a record of the original MIDAS collector" in refused(tmp_path, capsys, str(path))
    assert "import with --venue binance-futures" in refused(
        tmp_path, capsys, put(path, session()), "--venue", "binance-spot", code=2
    )
