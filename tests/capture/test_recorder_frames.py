"""The recorder's two ways to read a frame, the strict one and the plain one, must not differ in anything it does."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from midas_ray.book.sync import FetchSnapshot, Gap
from midas_ray.capture import recorder as recorder_module
from midas_ray.capture.journal import read_blocks, ws_line
from midas_ray.capture.journal_run import HOUR_NS
from midas_ray.capture.recorder import Recorder
from midas_ray.venues import get_venue

START_NS = 1_767_225_600 * 10**9
START_MS = START_NS // 10**6
PATH = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
SNAPSHOT = b'{"lastUpdateId":1000,"bids":[["100.0","5"],["99.5","4.25"]],"asks":[["101.0","6"]]}'


def make(root: Path) -> Recorder:
    venue = get_venue("binance-futures")
    return Recorder(venue, "btcusdt", root, next_n=itertools.count(1).__next__, streams=["depth"], connections=2)


def message(kind: str, number: int, **more: Any) -> dict[str, Any]:
    ms = START_MS + number
    if kind == "depth":
        last = 1010 + 10 * number
        ids = {"e": "depthUpdate", "E": ms + 3, "T": ms, "s": "BTCUSDT", "U": last - 5, "u": last, "pu": last - 10}
        return ids | {"b": [[f"{90 + number}.50", "0.250"]], "a": [["101.0", "0"]]} | more
    if kind == "trade":
        head = {"e": "trade", "E": ms + 1, "T": ms, "s": "BTCUSDT", "t": number, "p": "100.5", "q": "1"}
        return head | {"X": "MARKET", "m": True} | more
    return {"e": "aggTrade", "E": ms, "T": ms, "s": "BTCUSDT", "a": number, "p": "1", "q": "1", "f": 1, "l": 2, **more}


def packed(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def combined(kind: str, number: int, **more: Any) -> bytes:
    return packed({"stream": f"btcusdt@{kind}", "data": message(kind, number, **more)})


def journal(root: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(root.rglob("*.jsonl.zst")):
        with path.open("rb") as stream:
            found += [json.loads(line) for block in read_blocks(stream, "x") for line in block.splitlines()]
    return found


@st.composite
def frames(draw: st.DrawFn) -> list[bytes]:
    """Frames of a chain, some written otherwise, damaged, of another symbol, or no frames at all."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        more: dict[str, Any] = draw(
            st.sampled_from(
                [{}, {}, {}, {"s": "ETHUSDT"}, {"st": 2}, {"st": 1, "ps": "BTCUSDT"}, {"x": "é"}, {"T": None},
                 {"E": "1"}, {"u": 5}, {"b": [["0.1234567", "1e3"]]}, {"b": [["0.12345678", "1"]]}, {"t": 2**70},
                 {"p": "0", "q": "0", "X": "NA"}]
            )
        )  # fmt: skip
        body: Any = message(draw(st.sampled_from(["depth", "depth", "trade", "aggTrade"])), number, **more)
        if draw(st.booleans()):
            body = {"stream": "btcusdt@depth@100ms", "data": body}
        payload = packed(body) if draw(st.booleans()) else json.dumps(body, ensure_ascii=draw(st.booleans())).encode()
        damage = draw(st.sampled_from(["", "", "", "cut", "byte", "tail", "newline", "space"]))
        at = draw(st.integers(0, len(payload) - 1))
        if damage == "cut":
            payload = payload[:at]
        elif damage == "byte":
            payload = payload[:at] + bytes([draw(st.integers(0, 255))]) + payload[at + 1 :]
        elif damage == "newline":
            payload = payload[:at] + b"\n" + payload[at:]
        elif damage:
            payload += {"tail": b'}\n{"recv_ns":1,"e":{"a":1}', "space": b" \r\n"}[damage]
        found.append(payload)
    return found


def record(root: Path, payloads: list[bytes], *, strict: bool) -> tuple[Recorder, list[Any]]:
    with pytest.MonkeyPatch.context() as patch:
        if not strict:
            patch.setattr(recorder_module, "looks_like", lambda *_: False)
        each = make(root)
        each.open(START_NS, 0)
        each.rest(START_NS, 0, "rest", SNAPSHOT, status=200, sent_ns=START_NS, path=PATH)
        actions = [each.frame(START_NS + at, at, "a-1", payload) for at, payload in enumerate(payloads)]
        each.close(START_NS + 10**6, 0, "end")
    return each, actions


@given(frames())
@example([combined("depth", 0), combined("trade", 1), combined("depth", 1)])
@example([combined("trade", 1) + b"}"])
@example([combined("trade", 1)[:-1] + b',"x":"\xc3"}'])
@example([combined("trade", 1)[:-1] + b',\n"x":1}'])
@example([combined("depth", 0) + b"\n" + combined("depth", 1)])
@settings(max_examples=150, deadline=None)
def test_both_ways_write_and_apply_the_same(tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]) -> None:
    roots = [tmp_path_factory.mktemp(name) for name in ("strict", "plain")]
    strict, strict_actions = record(roots[0], payloads, strict=True)
    plain, plain_actions = record(roots[1], payloads, strict=False)
    assert journal(roots[0]) == journal(roots[1])
    assert strict_actions == plain_actions
    assert strict.counters == plain.counters
    assert (strict.last_event_ms, strict.last_recv_ns) == (plain.last_event_ms, plain.last_recv_ns)
    assert strict.last_trade_id == plain.last_trade_id
    assert (strict.book.last_id, strict.book.scale, strict.book.state_name) == (
        plain.book.last_id, plain.book.scale, plain.book.state_name,
    )  # fmt: skip
    for side in (0, 1):
        levels = [each.book.ladder.levels_text(side, each.book.scale) for each in (strict, plain)]
        assert levels[0] == levels[1]


@given(frames())
@settings(max_examples=100, deadline=None)
def test_each_frame_is_the_line_that_stands_for_it(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]
) -> None:
    root = tmp_path_factory.mktemp("lines")
    record(root, payloads, strict=True)
    found = [line for line in journal(root) if line["kind"] == "ws"]
    assert found == [json.loads(ws_line(START_NS + n, n, "a-1", n + 2, payload)) for n, payload in enumerate(payloads)]


def test_a_compact_frame_takes_the_strict_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "_plain_frame", None)
    each, _ = record(tmp_path, [combined("trade", 7), combined("depth", 1)], strict=True)
    assert each.counters.frames == {"trade": 1, "depth": 1}
    assert each.last_event_ms == {"trade": START_MS + 7, "depth": START_MS + 1 + 3}


def test_spans_of_events_that_are_kept_do_not_share_the_scans_arrays(tmp_path: Path) -> None:
    """A snapshot that widens a live book is brought forward by the events before: they must be as they came."""
    each = make(tmp_path)
    each.open(START_NS, 0)
    frames = [combined("depth", number) for number in range(5)]
    for at, frame in enumerate(frames):  # nothing is known yet: all are buffered
        each.frame(START_NS + at, at, "a-1", frame)
    assert each.rest(START_NS, 0, "rest", SNAPSHOT, status=200, sent_ns=START_NS, path=PATH) == []
    assert each.book.last_id == 1050
    best = each.book.ladder.levels_text(0, each.book.scale, 3)
    assert best == [("100.0", "5.00"), ("99.5", "4.25"), ("94.5", "0.25")]


def test_frames_of_another_symbol_and_of_coin_m_are_kept_and_never_applied(tmp_path: Path) -> None:
    each, actions = record(
        tmp_path, [combined("depth", 0), combined("depth", 1, s="ETHUSDT"), combined("depth", 1, st=2)], strict=True
    )
    foreign = combined("trade", 9, s="ETHUSDT")
    assert actions == [[], [], []]
    assert each.book.last_id == 1010
    assert (each.counters.undecodable, each.counters.frames) == (1, {"depth": 2, "control": 1})
    assert len([line for line in journal(tmp_path) if line["kind"] == "ws"]) == 3
    other, _ = record(tmp_path / "trades", [combined("trade", 7), foreign, combined("trade", 10, st=2)], strict=True)
    assert (other.counters.undecodable, other.last_trade_id) == (1, 7)


def test_an_answer_that_is_not_used_is_kept_and_not_given_to_the_book(tmp_path: Path) -> None:
    each = make(tmp_path)
    each.open(START_NS, 0)
    each.rest(START_NS, 0, "rest", SNAPSHOT, status=200, sent_ns=START_NS, path=PATH, used=False)
    each.frame(START_NS, 0, "a-1", combined("depth", 0))
    assert not each.book.live
    each.rest(START_NS, 0, "rest", SNAPSHOT, status=200, sent_ns=START_NS, path=PATH)
    assert each.book.live
    each.close(START_NS, 0, "end")
    assert [line.get("used") for line in journal(tmp_path) if line["kind"] == "rest"] == [False, None]


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (None, "venue"),
        (("disconnect", {"streams": [], "carried": ["depth"]}), "venue"),
        (("disconnect", {"streams": ["trade"]}), "venue"),
        (("disconnect", {"streams": ["depth"]}), "network"),
        (("missed", {"stream": "trade", "cause": "network"}), "venue"),
        (("missed", {"stream": "depth", "cause": "both-missed"}), "both-missed"),
    ],
)
def test_whose_doing_a_gap_is(tmp_path: Path, event: Any, cause: str) -> None:
    each = make(tmp_path)
    each.open(START_NS, 0)
    each.rest(START_NS, 0, "rest", SNAPSHOT, status=200, sent_ns=START_NS, path=PATH)
    each.frame(START_NS, 0, "a-1", combined("depth", 0))
    if event is not None and event[0] == "missed":
        each.missed(START_NS, 0, **event[1])
    elif event is not None:
        each.event(START_NS, 0, "a-1", event[0], **event[1])
    assert each.frame(START_NS, 0, "a-1", combined("depth", 5)) == [FetchSnapshot("gap")]
    snapshot = SNAPSHOT.replace(b"1000", b"1055")
    (gap,) = each.rest(START_NS, 0, "rest", snapshot, status=200, sent_ns=START_NS, path=PATH)
    assert isinstance(gap, Gap)
    assert gap.cause == cause


def test_the_head_says_how_many_connections_carry_each_stream(tmp_path: Path) -> None:
    each, _ = record(tmp_path, [combined("depth", 0)], strict=True)
    assert journal(tmp_path)[0]["connections"] == 2
    assert each.failure is None


def test_a_snapshot_that_waits_at_a_files_end_is_given_up(tmp_path: Path) -> None:
    """Who reads the next file alone does not know of it."""
    each = make(tmp_path)
    each.open(START_NS, 0)
    each.rest(START_NS, 0, "rest", SNAPSHOT, status=200, sent_ns=START_NS, path=PATH)
    each.frame(START_NS, 0, "a-1", combined("depth", 0))
    ahead = SNAPSHOT.replace(b"1000", b"1015").replace(b'["99.5"', b'["50.0","7"],["99.5"')
    each.rest(START_NS, 0, "rest", ahead, status=200, sent_ns=START_NS, path=PATH)
    each.frame(START_NS + HOUR_NS, 0, "a-1", combined("depth", 1))
    assert each.book.last_id == 1020
    assert "50.0" not in [px for px, _ in each.book.ladder.levels_text(0, each.book.scale)]
