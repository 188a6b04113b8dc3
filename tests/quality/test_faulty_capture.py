"""A real capture with planted losses, through every stage: the ledger names them and no number stands on them."""

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from midas_ray.book.events import decode_depth
from midas_ray.book.scale import ScaleTooSmallError
from midas_ray.book.sync import BookSync, FetchSnapshot
from midas_ray.capture.bookline import book_fields
from midas_ray.capture.recorder import Recorder, apply_snapshot
from midas_ray.features.run import features
from midas_ray.quality.run import validate
from midas_ray.reconstruct.run import reconstruct
from midas_ray.settings import Features, Reconstruct, Validate
from midas_ray.venues import get_venue
from midas_ray.venues.messages import DepthUpdate

pytestmark = pytest.mark.real

VENUE = get_venue("binance-spot")
SYMBOL = "nexousdt"
SNAPSHOT_PATH = f"{VENUE.depth_path}?symbol=NEXOUSDT&limit=5000"
DEPTH_LOST_S, TRADES_LOST_S, DOWN_S = (300, 310), (480, 560), (700, 880)
END_S = 1200


class Exchange:
    """The book as the exchange has it, from every message: gives snapshots to whoever lost some."""

    def __init__(self) -> None:
        self.book = BookSync()

    def apply(self, payload: bytes) -> None:
        message = msgspec.convert(json.loads(payload)["data"], DepthUpdate)
        while True:
            try:
                events = decode_depth(message, 0, VENUE.depth_clock, VENUE.has_previous_id, self.book.scale)
            except ScaleTooSmallError as error:
                self.book.rescale(error.scale)
                continue
            self.book.depth(events)
            return

    def snapshot(self) -> bytes:
        fields = book_fields(self.book, 0)
        answer = {"lastUpdateId": fields["last_update_id"], "bids": fields["bids"], "asks": fields["asks"]}
        return json.dumps(answer).encode()


def _frames(path: Path) -> Iterator[tuple[float, int, bytes]]:
    """(seconds since the first line, receive time, payload) of each line."""
    first_ns = None
    with gzip.open(path) as lines:
        for line in lines:
            stamp, _, payload = line.rstrip().partition(b" ")
            recv_ns = int(stamp) * 1000
            first_ns = recv_ns if first_ns is None else first_ns
            yield (recv_ns - first_ns) / 1e9, recv_ns, payload


def _inside(second: float, span: tuple[int, int]) -> bool:
    return span[0] <= second < span[1]


def record_with_losses(path: Path, root: Path) -> None:
    """Raw journals as a collector would have written them that lost messages and was down for a while."""
    exchange, recorder, numbers = Exchange(), None, itertools.count(1)
    fetch_at: float | None = None
    for second, recv_ns, payload in _frames(path):
        if second > END_S:
            break
        is_depth, is_trade = b'"depthUpdate"' in payload, b'"e":"trade"' in payload
        if is_depth:
            exchange.apply(payload)
        elif b'"lastUpdateId"' in payload:
            apply_snapshot(exchange.book, payload, SNAPSHOT_PATH)
            fetch_at = second
        if _inside(second, DOWN_S):
            if recorder is not None:
                recorder.close(recv_ns, None, "stopped")
            recorder, fetch_at = None, DOWN_S[1]
            continue
        if recorder is None:
            streams = ("depth", "trade")
            recorder = Recorder(VENUE, SYMBOL, root, next_n=lambda: next(numbers), streams=streams)
            recorder.open(recv_ns, None)
        if fetch_at is not None and second >= fetch_at and exchange.book.live:
            recorder.rest(recv_ns, None, "rest", exchange.snapshot(), status=200, sent_ns=recv_ns, path=SNAPSHOT_PATH)
            fetch_at = None
        if (is_depth and _inside(second, DEPTH_LOST_S)) or (is_trade and _inside(second, TRADES_LOST_S)):
            continue
        if is_depth or is_trade:
            actions = recorder.frame(recv_ns, None, "a-1", payload)
            if any(isinstance(action, FetchSnapshot) for action in actions) and fetch_at is None:
                fetch_at = second + 2
    if recorder is not None:
        recorder.close(recv_ns, None, "end")


@pytest.mark.usefixtures("ray_local")
def test_losses_are_in_the_ledger_and_never_become_numbers(real_data: Path, tmp_path: Path) -> None:
    record_with_losses(real_data / "binance-spot-raw" / "nexousdt_20240723.dat.gz", tmp_path)
    chosen = {"data_dir": str(tmp_path), "venue": "binance-spot"}
    reconstruct(Reconstruct(**chosen))
    features(Features(**chosen))
    assert validate(Validate(**chosen)) == 0
    report = json.loads((tmp_path / "reports" / "data_quality.json").read_text())["symbols"][SYMBOL]
    assert {name for name, check in report["checks"].items() if check["status"] == "FAIL"} == set()
    gaps = [(gap["stream"], gap["cause"]) for gap in report["gaps"]["list"]]
    assert sorted(gaps) == [("depth", "down"), ("depth", "venue"), ("trade", "down"), ("trade", "venue")]
    assert report["gaps"]["lost_s"]["depth"] > (DEPTH_LOST_S[1] - DEPTH_LOST_S[0]) + (DOWN_S[1] - DOWN_S[0])
    ofi, volume = report["features"]["columns"]["ofi"], report["features"]["columns"]["volume"]
    assert ofi["gap"] >= 4
    assert volume["gap"] >= 4
    assert ofi["value"] >= 10
