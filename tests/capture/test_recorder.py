"""The recorder: what it writes and in which order, the book it keeps, and that each of its files stands alone."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from midas_ray.book.ladder import ASK, BID
from midas_ray.book.scale import Scale
from midas_ray.book.sync import BookSync, FetchSnapshot, Gap
from midas_ray.capture.bookline import book_scale, book_snapshot, decode_book_line
from midas_ray.capture.journal import read_blocks
from midas_ray.capture.journal_run import HOUR_NS
from midas_ray.capture.recorder import Recorder, apply_snapshot
from midas_ray.venues import get_venue

START_NS = 1_767_225_600 * 10**9 + 5 * 10**9
START_MS = START_NS // 10**6
PATH = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"


def recorder(root: Path, venue: str = "binance-futures", **options: Any) -> Recorder:
    return Recorder(get_venue(venue), "btcusdt", root, next_n=itertools.count(1).__next__, **options)


def depth(ms: int, pu: int, first: int, last: int, bids: Any = (), asks: Any = (), **more: Any) -> bytes:
    """A combined depth frame `ms` after the start."""
    data = {"e": "depthUpdate", "E": START_MS + ms, "T": START_MS + ms, "s": "BTCUSDT", "U": first, "u": last, "pu": pu}
    return json.dumps({"stream": "btcusdt@depth", "data": data | {"b": bids, "a": asks} | more}).encode()


def trade(ms: int, trade_id: int) -> bytes:
    data = {"e": "trade", "E": START_MS + ms, "T": START_MS + ms, "s": "BTCUSDT", "t": trade_id, "p": "100.5", "q": "1"}
    return json.dumps(data | {"X": "MARKET", "m": True}).encode()


SNAPSHOT = b'{"lastUpdateId":1000,"bids":[["100.0","5"],["99.5","4.25"]],"asks":[["101.0","6"]]}'


def take_snapshot(each: Recorder, ms: int = 0, payload: bytes = SNAPSHOT) -> list[Any]:
    at = START_NS + ms * 10**6
    return each.rest(at, None, "rest", payload, status=200, sent_ns=at - 10**6, path=PATH)


def feed(each: Recorder, ms: int, payload: bytes) -> list[Any]:
    return each.frame(START_NS + ms * 10**6, ms, "a-1", payload)


def lines(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Lines of each sealed file, by name in order of time."""
    found = {}
    for path in sorted(root.rglob("*.jsonl.zst")):
        with path.open("rb") as stream:
            found[path.name] = [json.loads(line) for line in b"".join(read_blocks(stream, "x")).splitlines()]
    return found


def live(root: Path, **options: Any) -> Recorder:
    each = recorder(root, **options)
    assert each.open(START_NS, 0, run="r1") == [FetchSnapshot("start")]
    take_snapshot(each)
    feed(each, 10, depth(10, 990, 995, 1010, [["100.0", "7"]]))
    assert each.book.live
    return each


def test_every_frame_is_a_line_in_order_and_the_first_lines_say_who_collects_what(tmp_path: Path) -> None:
    each = live(tmp_path, streams=["trade", "depth"])
    feed(each, 20, trade(20, 7))
    feed(each, 30, b'{"result":null,"id":1}')
    feed(each, 40, b"no json")
    path = each.close(START_NS + 10**9, 1, "asked to")
    assert path is not None
    (told,) = lines(tmp_path).values()
    assert [(line["kind"], line.get("event")) for line in told] == [
        ("event", "unsynced"), ("event", "open"), ("rest", None),
        ("ws", None), ("ws", None), ("ws", None), ("ws", None), ("event", "shutdown"),
    ]  # fmt: skip
    assert told[0]["streams"] == ["depth", "trade"]
    assert told[1]["run"] == "r1"
    assert [line["n"] for line in told] == [0, 0, 1, 2, 3, 4, 5, 5]
    assert told[3]["payload"]["data"]["u"] == 1010
    assert told[6]["text"] == "no json"
    assert told[7]["reason"] == "asked to"
    assert each.counters.frames == {"depth": 1, "trade": 1, "control": 1}
    assert each.counters.undecodable == 1


def test_new_hour_begins_a_file_that_stands_alone(tmp_path: Path) -> None:
    each = live(tmp_path)
    feed(each, 20, trade(20, 7))
    later = HOUR_NS // 10**6
    feed(each, later, depth(later, 1010, 1015, 1020, [["99.5", "0"], ["98", "1"]], [["100.5", "0.125"]]))
    feed(each, later + 5, depth(later + 5, 1020, 1021, 1030, [["100.0", "1"]]))
    each.close(START_NS + HOUR_NS + 10**9, None, "end")
    first, second = lines(tmp_path).values()
    assert first[-1]["event"] == "rotate"
    head = second[0]
    assert (head["kind"], head["last_update_id"], head["after_n"], head["T"]) == ("book", 1010, 3, START_MS + 10)
    assert (head["last_trade_id"], head["last_trade_ms"]) == (7, START_MS + 20)
    assert (head["bids"], head["asks"]) == ([["100.0", "7.00"], ["99.5", "4.25"]], [["101.0", "6.00"]])
    assert (head["known_bid"], head["known_ask"]) == (None, None)
    (path,) = [path for path in tmp_path.rglob("*.jsonl.zst") if path.name.startswith(str(START_NS + HOUR_NS))]
    assert "date=2026-01-01" in str(path)
    alone = read_alone(path)
    assert alone.last_id == each.book.last_id
    for side in (BID, ASK):
        assert alone.ladder.levels_text(side, alone.scale) == each.book.ladder.levels_text(side, each.book.scale)


def read_alone(path: Path) -> BookSync:
    """The book that one file gives, read line by line with the plain decoder."""
    book = BookSync()
    venue = get_venue("binance-futures")
    replay = Recorder(venue, "btcusdt", path.parent / "again", next_n=itertools.count().__next__)
    replay.book = book
    with path.open("rb") as stream:
        for raw in b"".join(read_blocks(stream, "x")).splitlines():
            line = json.loads(raw)
            if line["kind"] == "book":
                body = decode_book_line(raw)
                book.rescale(book_scale(body, book.scale))
                book.load_book(book_snapshot(body, book.scale), body.T)
            elif line["kind"] == "ws":
                replay.frame(line["recv_ns"], None, "x", json.dumps(line["payload"]).encode())
    replay.close(START_NS, None, "read")
    return book


def test_a_file_too_large_is_followed_by_another(tmp_path: Path) -> None:
    each = live(tmp_path, max_bytes=1)
    for at in range(1, 4):
        feed(each, 10 + at, depth(10 + at, 1000 + at * 10, 1001 + at * 10, 1010 + at * 10))
        each.flush()
    each.close(START_NS + 10**9, None, "end")
    files = list(lines(tmp_path).values())
    assert len(files) > 2
    assert [line["n"] for file in files for line in file if line["kind"] in ("ws", "rest")] == [1, 2, 3, 4, 5]
    assert all(file[0]["kind"] == "book" for file in files[2:])


def test_clock_that_steps_back_over_an_hour_begins_no_older_file(tmp_path: Path) -> None:
    each = live(tmp_path)
    feed(each, -10_000, trade(-10_000, 7))
    each.close(START_NS + 10**9, None, "end")
    assert len(lines(tmp_path)) == 1


def test_gap_and_resync_are_said_in_the_journal(tmp_path: Path) -> None:
    each = live(tmp_path)
    assert feed(each, 20, depth(20, 1020, 1021, 1030)) == [FetchSnapshot("gap")]
    assert each.book.state_name == "gap"
    actions = take_snapshot(each, 30, SNAPSHOT.replace(b"1000", b"1025"))
    assert actions == [Gap(START_MS + 10, START_MS + 20, "venue", 1010, 1020, START_NS + 20 * 10**6)]
    each.close(START_NS + 10**9, None, "end")
    (told,) = lines(tmp_path).values()
    gap, resync = (line for line in told if line.get("event") in ("gap", "resync"))
    assert (gap["expected_id"], gap["T"]) == (1010, START_MS + 10)
    assert (resync["start_ms"], resync["end_ms"], resync["found_id"]) == (START_MS + 10, START_MS + 20, 1020)
    assert (each.counters.gaps, each.counters.resyncs) == (1, 1)


def test_error_answers_and_other_paths_are_kept_but_are_no_snapshots(tmp_path: Path) -> None:
    each = recorder(tmp_path)
    each.open(START_NS, None)
    for status, path, payload in (
        (429, PATH, b'{"code":-1003,"msg":"Too many requests"}'),
        (200, "/fapi/v1/openInterest?symbol=BTCUSDT", b'{"openInterest":"1"}'),
        (200, PATH, b'{"msg":"no snapshot"}'),
        (200, PATH, b'{"lastUpdateId":1,"bids":[["0","1"]],"asks":[]}'),
    ):
        assert each.rest(START_NS, None, "rest", payload, status=status, sent_ns=START_NS, path=path) == []
    assert not each.book.live
    assert each.counters.undecodable == 2
    each.close(START_NS, None, "end")
    (told,) = lines(tmp_path).values()
    assert [line["status"] for line in told if line["kind"] == "rest"] == [429, 200, 200, 200]


@pytest.mark.parametrize(
    "wrong",
    [
        depth(20, 1010, 1015, 1020, [["1e5", "1"]]),
        depth(20, 1010, 1015, 1020, [["0", "1"]]),
        depth(20, 1010, 1015, 1020, [["100.123456789012", "1"]]),
        depth(20, 1010, 1015, 1020, [["1", "2", "3"]]),
        depth(20, 1010, 1015, 1012 - 5),
        depth(20, 1010, 1015, 2**80),
        depth(20, 1010, 1015, 1020, T=None),
        b'{"stream":"btcusdt@depth","data":{"e":"depthUpdate"}}',
    ],
)
def test_undecodable_depth_frame_is_kept_counted_and_then_a_gap(tmp_path: Path, wrong: bytes) -> None:
    each = live(tmp_path)
    before = each.book.scale, each.book.last_id
    assert feed(each, 20, wrong) == []
    assert each.counters.undecodable == 1
    assert (each.book.scale, each.book.last_id) == before
    assert feed(each, 30, depth(30, 1020, 1021, 1030)) == [FetchSnapshot("gap")]
    each.close(START_NS + 10**9, None, "end")
    (told,) = lines(tmp_path).values()
    assert json.loads(wrong) in [line.get("payload") for line in told]


def test_more_decimals_in_mid_stream_are_exact(tmp_path: Path) -> None:
    each = live(tmp_path)
    assert each.book.scale == Scale(1, 2)
    feed(each, 20, depth(20, 1010, 1015, 1020, [["100.125", "0.00000001"]]))
    assert each.book.scale == Scale(3, 8)
    assert each.book.ladder.levels_text(BID, each.book.scale, 2) == [
        ("100.125", "0.00000001"), ("100.000", "7.00000000")
    ]  # fmt: skip


def test_spot_frames_without_pu(tmp_path: Path) -> None:
    each = recorder(tmp_path, "binance-spot")
    each.open(START_NS, None)
    each.rest(START_NS, None, "rest", SNAPSHOT, status=200, sent_ns=START_NS, path="/api/v3/depth?symbol=BTCUSDT")
    body = {
        "e": "depthUpdate",
        "E": START_MS,
        "s": "BTCUSDT",
        "U": 1001,
        "u": 1003,
        "b": [["100.00000000", "0.5"]],
        "a": [],
    }
    assert feed(each, 1, json.dumps(body).encode()) == []
    assert each.book.live
    assert feed(each, 2, json.dumps(body | {"U": 1005, "u": 1006}).encode()) == [FetchSnapshot("gap")]


def test_disconnect_makes_the_next_gap_the_networks(tmp_path: Path) -> None:
    each = live(tmp_path)
    each.event(START_NS + 15 * 10**6, None, "a-1", "disconnect", code=1006)
    feed(each, 20, depth(20, 1020, 1021, 1030))
    (gap,) = take_snapshot(each, 30, SNAPSHOT.replace(b"1000", b"1025"))
    assert gap.cause == "network"


def test_snapshot_limit_of_the_request_tells_the_known_depth() -> None:
    for path, known in ((PATH, None), ("/fapi/v1/depth?limit=2", "99.5"), ("/fapi/v1/depth", None)):
        book = BookSync()
        book.opened()
        apply_snapshot(book, SNAPSHOT, path)
        worst = int(book.ladder.known[BID])
        assert (book.scale.px_text(worst) if worst > 0 else None) == known
