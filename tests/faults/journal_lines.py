"""Frames to journal, and what a folder of journal files holds."""

import json
from pathlib import Path
from typing import Any

from midas_ray.book.sync import Action
from midas_ray.capture.journal import SUFFIX, read_blocks
from midas_ray.capture.recorder import Recorder

START_NS = 1_767_225_600 * 10**9
HOUR_NS = 3600 * 10**9
VENUE, SYMBOL = "binance-futures", "btcusdt"
SNAPSHOT_ID = 1000
SNAPSHOT_PATH = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"


def depth_frame(number: int) -> bytes:
    """The `number`-th event of a chain that continues the snapshot of SNAPSHOT_ID, from 0."""
    ms, last = START_NS // 10**6 + number, 1010 + 10 * number
    data = {"e": "depthUpdate", "E": ms, "T": ms, "s": "BTCUSDT", "U": last - 5, "u": last, "pu": last - 10}
    levels = {"b": [[f"{90 + number % 10}.5", f"{number % 7}.25"]], "a": []}
    return json.dumps({"stream": "btcusdt@depth@100ms", "data": data | levels}, separators=(",", ":")).encode()


def trade_frame(number: int) -> bytes:
    ms = START_NS // 10**6 + number
    data = {"e": "trade", "E": ms, "T": ms, "s": "BTCUSDT", "t": number, "p": "100.5", "q": "1", "X": "MARKET"}
    return json.dumps({"stream": "btcusdt@trade", "data": data | {"m": True}}, separators=(",", ":")).encode()


def take_snapshot(recorder: Recorder, recv_ns: int, last_id: int = SNAPSHOT_ID) -> list[Action]:
    body = b'{"lastUpdateId":%d,"bids":[["100.0","5"]],"asks":[["101.0","6"]]}' % last_id
    return recorder.rest(recv_ns, None, "rest", body, status=200, sent_ns=recv_ns, path=SNAPSHOT_PATH)


def sealed_files(root: Path) -> list[Path]:
    """In the order of their names, which is that of their first lines."""
    paths = root.glob(f"raw/venue={VENUE}/symbol={SYMBOL}/date=*/[!.]*{SUFFIX}")
    return sorted(paths, key=lambda path: int(path.name.partition("-")[0]))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Every line of a sealed file. Raises CorruptFileError where a byte of it is wrong or missing."""
    with path.open("rb") as stream:
        return [json.loads(line) for block in read_blocks(stream, path.name) for line in block.splitlines()]


def assert_stands_alone(path: Path) -> None:
    """A file begins with its head, and all that was received for it was so within one UTC hour."""
    lines = lines_of(path)
    assert lines[0]["kind"] == "book" or lines[0]["event"] == "unsynced", path
    assert len({line["recv_ns"] // HOUR_NS for line in lines if line["kind"] != "event"}) <= 1, path
    assert [line for line in lines[1:] if line["kind"] == "book" or line.get("event") == "unsynced"] == []


def assert_holds_all(root: Path, frames: dict[int, bytes]) -> list[dict[str, Any]]:
    """Every file is whole and stands alone; together they hold each frame (by its `n`) once and in order.

    Gives all lines.
    """
    lines = []
    for path in sealed_files(root):
        assert_stands_alone(path)
        lines += lines_of(path)
    assert list(root.rglob("*.open*")) == []
    found = [(line["n"], line["payload"]) for line in lines if line["kind"] == "ws"]
    assert found == [(n, json.loads(frame)) for n, frame in frames.items()]
    return lines
