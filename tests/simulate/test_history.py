"""Simulated history: the journal a live collector would have written, equal to the server's frames and to the truth."""

import functools
import json
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard

from midas_ray.capture.journal import decode_line
from midas_ray.errors import StorageError, UsageError
from midas_ray.simulate import collector_book, symbol_history
from midas_ray.simulate.feed import SymbolFeed
from midas_ray.simulate.history import HistorySummary, write_history
from midas_ray.simulate.market import Market
from midas_ray.simulate.market_kernel import ROOM
from midas_ray.simulate.symbols import spec_of
from midas_ray.tables import level_columns
from tests.simulate.dict_book import DictBook

START_NS = 1_767_571_160_000_000_000  # 40 s before midnight
DURATION_S = 130.0
FUTURES, SPOT = "binance-futures", "binance-spot"
Line = dict[str, Any]


def files_of(root: Path, venue: str = FUTURES, symbol: str = "btcusdt") -> list[Path]:
    return sorted((root / "raw" / f"venue={venue}" / f"symbol={symbol}").rglob("*"), key=lambda path: path.name)


def raw_lines(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert data.endswith(b"\n")
    return data.splitlines()


def lines_of(path: Path) -> list[Line]:
    return [json.loads(line) for line in raw_lines(path)]


def journals_of(root: Path, venue: str = FUTURES, symbol: str = "btcusdt") -> list[list[Line]]:
    return [lines_of(path) for path in files_of(root, venue, symbol) if path.is_file()]


def messages(lines: list[Line], stream: str) -> list[dict[str, Any]]:
    return [
        line["payload"]["data"]
        for line in lines
        if line["kind"] == "ws" and line["payload"]["stream"].partition("@")[2] == stream
    ]


def write(root: Path, venue: str = FUTURES, symbols: tuple[str, ...] = ("btcusdt",), seed: int = 5) -> HistorySummary:
    return write_history(str(root), venue, symbols, seed, START_NS, DURATION_S)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HistorySummary]:
    root = tmp_path_factory.mktemp("history")
    return root, write(root)


@pytest.fixture(scope="module")
def journals(written: tuple[Path, HistorySummary]) -> list[list[Line]]:
    return journals_of(written[0])


def test_files_rotate_on_the_hour_and_lie_where_the_contract_says(written: tuple[Path, HistorySummary]) -> None:
    paths = [path for path in files_of(written[0]) if path.is_file()]
    assert [path.parent.name for path in paths] == ["date=2026-01-04", "date=2026-01-05"]
    assert [path.name.partition("-")[0] for path in paths] == [str(lines_of(path)[0]["recv_ns"]) for path in paths]
    assert all(path.name.endswith(".jsonl.zst") for path in paths)


def test_lines_are_as_the_journal_defines_them(written: tuple[Path, HistorySummary]) -> None:
    for path in files_of(written[0]):
        if path.is_file():
            for line in raw_lines(path):
                assert line.startswith(b'{"recv_ns":')
                assert b": " not in line
                decoded = decode_line(line)
                assert list(json.loads(line))[:5] == ["recv_ns", "mono_ns", "conn", "n", "kind"]
                assert decoded.kind in {"ws", "rest", "book", "event"}


def test_receive_order_and_numbers(journals: list[list[Line]]) -> None:
    lines = [line for journal in journals for line in journal]
    frames = [line for line in lines if line["kind"] in {"ws", "rest"}]
    assert [line["n"] for line in frames] == list(range(1, len(frames) + 1))
    received = [line["recv_ns"] for line in lines]
    assert received == sorted(received)
    assert received[0] >= START_NS
    assert received[-1] == START_NS + int(DURATION_S * 1e9)
    assert len({line["recv_ns"] - line["mono_ns"] for line in lines}) == 1
    for line in frames:
        if line["kind"] == "ws":
            latency_ns = line["recv_ns"] - line["payload"]["data"]["E"] * 10**6
            assert 1_000_000 < latency_ns < 500_000_000
    kinds = [line["event"] for line in lines if line["kind"] == "event"]
    assert kinds == ["unsynced", "open", "connect", "connect", "rotate", "shutdown"]


def test_depth_chain_replays_to_the_truth(written: tuple[Path, HistorySummary], journals: list[list[Line]]) -> None:
    lines = [line for journal in journals for line in journal]
    (rest,) = [line for line in lines if line["kind"] == "rest"]
    assert rest["status"] == 200
    book, depth = DictBook(rest["payload"]), messages(lines, "depth@100ms")
    truth = {row["update_id"]: row for row in pl.read_parquet(written[0] / "truth/book").iter_rows(named=True)}
    older = sum(not book.apply(message) for message in depth[:10])
    assert older >= 4
    compared, previous = 0, depth[9]
    for message in depth[10:]:
        assert message["pu"] == previous["u"]
        assert book.apply(message)
        row = truth[book.last_id]
        for side, levels in zip(("bid", "ask"), book.top(10), strict=True):
            assert [int(px * 100) for px, _ in levels] == [row[name] for name in level_columns(f"{side}_px", 10)]
            assert [int(sz * 1000) for _, sz in levels] == [row[name] for name in level_columns(f"{side}_sz", 10)]
        assert row["changed_at"] < row["ts"]
        assert message["T"] == int(row["changed_at"].timestamp() * 1000)
        previous, compared = message, compared + 1
    assert compared > 1200


def test_second_file_stands_alone(journals: list[list[Line]]) -> None:
    first, second = journals
    book_line = second[0]
    assert book_line["kind"] == "book"
    assert book_line["after_n"] == book_line["n"] == [line["n"] for line in first if line["kind"] == "ws"][-1]
    (rest,) = [line for line in first if line["kind"] == "rest"]
    whole = DictBook(rest["payload"])
    for message in messages(first, "depth@100ms"):
        whole.apply(message)
        last = message
    assert (book_line["last_update_id"], book_line["T"]) == (whole.last_id, last["T"])
    alone = DictBook(book_line | {"lastUpdateId": book_line["last_update_id"]})
    assert (alone.bids, alone.asks) == (whole.bids, whole.asks)
    assert book_line["bids"] == sorted(book_line["bids"], key=lambda level: -float(level[0]))
    assert book_line["known_bid"] == rest["payload"]["bids"][-1][0]
    assert book_line["known_ask"] == rest["payload"]["asks"][-1][0]
    assert book_line["last_trade_id"] == messages(first, "trade")[-1]["t"]
    assert book_line["last_trade_ms"] == messages(first, "trade")[-1]["T"]


@pytest.mark.parametrize("venue", [FUTURES, SPOT])
def test_payloads_are_the_servers(venue: str, tmp_path: Path) -> None:
    """The kernel's lines and the server's frames are two ways to the same bytes."""
    write(tmp_path, venue, ("ethusdt",))
    spot = venue == SPOT
    start_us = START_NS // 1000
    feed = SymbolFeed(Market(spec_of("ethusdt"), 5, start_us, futures=not spot), start_us, spot=spot)
    streams = {"depth@100ms", "trade", "kline_1m"} | (set() if spot else {"markPrice@1s", "forceOrder"})
    frames, _ = feed.advance(start_us + int(DURATION_S * 1e6), streams)
    served: dict[str, list[str]] = defaultdict(list)
    for frame in frames:
        served[frame.stream].append(f'{{"stream":"ethusdt@{frame.stream}","data":{frame.payload}}}')
    kept: dict[str, list[str]] = defaultdict(list)
    for path in files_of(tmp_path, venue, "ethusdt"):
        for line in raw_lines(path) if path.is_file() else ():
            payload = line.partition(b'"payload":')[2][:-1].decode()
            if payload.startswith('{"stream"'):
                kept[json.loads(payload)["stream"].partition("@")[2]].append(payload)
    assert set(kept) - {"forceOrder"} == streams - {"forceOrder"}
    for stream in streams:
        # The last frames were still under way when history ended.
        assert kept[stream] == served[stream][: len(kept[stream])], stream
        assert len(served[stream]) - len(kept[stream]) <= 3, stream


def test_truth_holds_every_print(written: tuple[Path, HistorySummary], journals: list[list[Line]]) -> None:
    trades = messages([line for journal in journals for line in journal], "trade")
    truth = pl.read_parquet(written[0] / "truth/trades").sort("trade_id")
    sent = [
        (t["t"], round(float(t["p"]) * 100), round(float(t["q"]) * 1000), "sell" if t["m"] else "buy")
        for t in trades
        if t["X"] == "MARKET"
    ]
    assert truth.select("trade_id", "px", "qty", "side").rows()[: len(sent)] == sent
    assert len(truth) - len(sent) <= 3


def test_summary_counts_what_is_there(written: tuple[Path, HistorySummary], journals: list[list[Line]]) -> None:
    root, summary = written
    lines = [line for journal in journals for line in journal]
    assert summary.messages == sum(line["kind"] in {"ws", "rest"} for line in lines)
    depth = messages(lines, "depth@100ms")
    assert summary.level_changes == sum(len(message["b"]) + len(message["a"]) for message in depth)
    paths = [path for path in files_of(root) if path.is_file()]
    assert summary.file_bytes == sum(path.stat().st_size for path in paths)
    assert summary.json_bytes == sum(len(line) + 1 for path in paths for line in raw_lines(path))
    assert "x real time" in str(summary)


def test_same_seed_same_bytes_whatever_stands_around(written: tuple[Path, HistorySummary], tmp_path: Path) -> None:
    write(tmp_path, symbols=("solusdt", "btcusdt"))

    def contents(root: Path) -> list[bytes]:
        return [path.read_bytes() for path in files_of(root) if path.is_file()]

    assert contents(tmp_path) == contents(written[0])
    write(tmp_path / "other", seed=6)
    assert contents(tmp_path / "other") != contents(written[0])


def test_a_snapshot_is_fetched_anew_when_the_book_grows_thin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_book, "THIN_SHARE", 0.999)
    write(tmp_path)
    lines = [line for journal in journals_of(tmp_path) for line in journal]
    rests = [line for line in lines if line["kind"] == "rest"]
    assert len(rests) > 1
    book = DictBook(rests[0]["payload"])
    known_bid = float(rests[0]["payload"]["bids"][-1][0])
    for line in lines:
        if line["kind"] == "ws" and line["payload"]["stream"].endswith("@depth@100ms"):
            book.apply(line["payload"]["data"])
        elif line["kind"] == "rest" and line is not rests[0]:
            fresh = DictBook(line["payload"])
            assert fresh.last_id > book.last_id - 20_000  # about 350 ms of ids
            known_bid = min(known_bid, float(line["payload"]["bids"][-1][0]))
            later = [m for m in messages(lines, "depth@100ms") if fresh.last_id < m["u"] <= book.last_id]
            for message in later:
                fresh.apply(message)
            book.bids, book.asks = book.bids | fresh.bids, book.asks | fresh.asks
        elif line["kind"] == "book":
            alone = DictBook(line | {"lastUpdateId": line["last_update_id"]})
            assert (alone.bids, alone.asks) == (book.bids, book.asks)
            assert float(line["known_bid"]) == known_bid
            assert line["recv_ns"] > rests[1]["recv_ns"]


def test_size_rotation_begins_with_a_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_history, "BUFFER_BYTES", 1 << 16)
    write_history(str(tmp_path), FUTURES, ("btcusdt",), 5, START_NS + 10**11, 120.0, max_bytes=30_000)
    journals = journals_of(tmp_path)
    assert len(journals) > 2
    assert all(journal[0]["kind"] == "book" for journal in journals[1:])
    assert all(journal[-1]["event"] == "rotate" for journal in journals[:-1])
    received = [line["recv_ns"] for journal in journals for line in journal]
    assert received == sorted(received)
    for earlier, later in pairwise(journals):
        last = messages(earlier, "depth@100ms")[-1]
        assert later[0]["last_update_id"] == last["u"] == messages(later, "depth@100ms")[0]["pu"]


def test_a_file_that_ends_before_the_first_snapshot_is_followed_by_an_unsynced_one(tmp_path: Path) -> None:
    start_ns = 1_767_571_199_400_000_000  # 600 ms before midnight; the snapshot arrives 900 ms after the start
    write_history(str(tmp_path), FUTURES, ("btcusdt",), 5, start_ns, 5.0)
    first, second = journals_of(tmp_path)
    assert [line["kind"] for line in first].count("rest") == 0
    assert (second[0]["kind"], second[0]["event"]) == ("event", "unsynced")
    assert [line["kind"] for line in second].count("rest") == 1
    assert first[0]["last_trade_id"] is None


def test_a_log_that_fills_up_early_changes_nothing(
    written: tuple[Path, HistorySummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbol_history, "Market", functools.partial(Market, log_rows=4 * ROOM))
    write(tmp_path)
    assert [path.read_bytes() for path in files_of(tmp_path) if path.is_file()] == [
        path.read_bytes() for path in files_of(written[0]) if path.is_file()
    ]


def test_existing_history_is_refused(written: tuple[Path, HistorySummary]) -> None:
    with pytest.raises(UsageError, match=r"expected no raw files of btcusdt .*choose another --data-dir or --start"):
        write(written[0])


def test_a_failure_leaves_nothing_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: object) -> None:
        raise StorageError("cannot write: no space left")

    monkeypatch.setattr(symbol_history, "write_truth", disk_full)
    with pytest.raises(StorageError, match="no space left"):
        write(tmp_path)
    names = [path.name for path in files_of(tmp_path) if path.is_file()]
    assert [name for name in names if not name.endswith(".jsonl.zst")] == []


def test_truth_lies_by_hour(written: tuple[Path, HistorySummary]) -> None:
    paths = sorted(path.relative_to(written[0]).as_posix() for path in (written[0] / "truth/book").rglob("*.parquet"))
    folder = "truth/book/venue=binance-futures/symbol=btcusdt"
    assert paths == [f"{folder}/date=2026-01-04/23.parquet", f"{folder}/date=2026-01-05/00.parquet"]
    rows = pl.read_parquet(written[0] / paths[1])
    assert rows["ts"].min() >= datetime(2026, 1, 5, tzinfo=UTC)
    assert rows["ts"].is_sorted()
    assert len(rows) == 900
