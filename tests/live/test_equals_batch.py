"""The last revision of every bucket that was published live is batch's row of the same raw data, bit for bit."""

import itertools
import random
import shutil
from collections import Counter
from pathlib import Path

import polars as pl

import midas_ray
from midas_ray.capture.journal import seal
from midas_ray.capture.recorder import Recorder
from midas_ray.live.publication import Publication
from midas_ray.live.session import SymbolSession
from midas_ray.settings import Features
from tests.features.raw_market import BEGIN_MS, SYMBOL, RawMarket, go_wrong, make_features, reconstruct

MIDNIGHT_MS = BEGIN_MS - BEGIN_MS % 86_400_000 + 86_400_000


class FollowedMarket(RawMarket):
    """A market whose journal is followed while it is written, at moments and after mishaps that chance chooses."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, seed)
        self.root = root
        self.chance = random.Random(seed)
        self.published: list[Publication] = []
        self.happened: Counter[str] = Counter()
        self.session = self._new_session()

    def _new_session(self) -> SymbolSession:
        session = SymbolSession(Features(data_dir=str(self.root)), SYMBOL, lambda: self.recv_ns)
        session.start()
        return session

    def look(self) -> None:
        self.published += self.session.poll()

    def open(self) -> None:
        super().open()
        self.event("clock", offset_ms=-5.0, round_trip_ms=1.0)

    def frame(self, stream: str, data: dict) -> None:
        super().frame(stream, data)
        what = self.chance.random()
        if what < 0.03:
            self.recorder.spill()
            self.look()
        elif what < 0.04:
            self.recorder.flush()
            self.look()
        elif what < 0.0403:
            self.happened["restart"] += 1
            self.session.close()  # a kill leaves no more behind: every publication is a write of its own
            self.session = self._new_session()
        elif what < 0.0405:
            self.kill()
        elif what < 0.0412 and stream == "depth@100ms":
            self.late_trade()

    def kill(self) -> None:
        """The collector is killed; the next one seals what it left."""
        self.happened["kill"] += 1
        self.recorder.spill()
        if self.chance.random() < 0.5:
            self.look()
        growing = self.recorder.path
        assert growing is not None
        self.recorder._journal._file.abandon()  # type: ignore[union-attr]
        seal(growing)
        streams = self.recorder._streams
        self.recorder = Recorder(self.venue, self.symbol, self.root, next_n=self._next_n, streams=streams)
        self.open()
        self.snapshot()

    def late_trade(self) -> None:
        """A print of some seconds ago: most of them belong to a bucket that has been published."""
        self.happened["late"] += 1
        self.look()
        self.trade_id += 1
        moment = self.now_ms - self.now_ms % 60_000 - 1500
        data = {"e": "trade", "E": moment, "T": moment, "s": "BTCUSDT", "t": self.trade_id, "p": "500.0", "q": "0.001"}
        super().frame("trade", data | {"X": "MARKET", "m": True})
        self.recorder.spill()
        self.now_ms += 1100
        self.look()

    def end(self) -> None:
        """All is over, and nothing more comes: the last bucket, which batch has a part of, closes by the clock."""
        for _ in range(3):
            self.now_ms += 31_000
            self.look()
        self.session.close()


def batch_rows(root: Path, raw: Path) -> pl.DataFrame:
    shutil.copytree(raw / "raw", root / "raw")
    reconstruct(root)
    make_features(root)
    return midas_ray.open(str(root)).features(SYMBOL).collect()


def test_through_everything_that_goes_wrong(tmp_path: Path) -> None:
    market = FollowedMarket(tmp_path / "live", seed=6)
    go_wrong(market)
    market.end()
    live = midas_ray.open(str(tmp_path / "live")).live_features(SYMBOL).collect()
    batch = batch_rows(tmp_path / "batch", tmp_path / "live")
    assert live.schema == batch.schema
    first = live["ts"].min()
    assert batch["ts"].min() == first  # the symbol's very first bucket is among them
    assert live.equals(batch)
    assert live.height > 200
    assert live["ts"].max().timestamp() > MIDNIGHT_MS / 1000 + 3600  # type: ignore[union-attr]
    assert min(market.happened[what] for what in ("restart", "kill", "late")) > 0
    versions: dict[int, list[Publication]] = {}
    for each in market.published:
        versions.setdefault(each.ts_us, []).append(each)
    for each in versions.values():
        assert [one.revision for one in each] == list(range(1, len(each) + 1))  # none twice, none left out
        assert all(one.digest != other.digest for one, other in itertools.pairwise(each))
    revised = [each for each in market.published if each.revised]
    assert len(revised) >= market.happened["late"] / 2
    assert {each.closed_by for each in market.published} == {"streams", "clock", "late", "restart"}


def test_history_that_batch_has_left_changes_nothing(tmp_path: Path) -> None:
    """A start after batch runs takes what they made; one without them replays the journals: the same rows."""
    market = RawMarket(tmp_path / "raw", 9)
    go_wrong(market)
    batch = batch_rows(tmp_path / "with", tmp_path / "raw")
    shutil.copytree(tmp_path / "raw" / "raw", tmp_path / "without" / "raw")
    found = {}
    for name in ("with", "without"):
        session = SymbolSession(Features(data_dir=str(tmp_path / name)), SYMBOL, lambda: market.recv_ns)
        session.start()
        newest = session.poll()
        session.close()
        assert len(newest) == 1
        found[name] = newest[0]
    assert found["with"].ts_us == found["without"].ts_us
    assert found["with"].digest == found["without"].digest
    rows = midas_ray.open(str(tmp_path / "with")).live_features(SYMBOL).collect()
    assert rows.equals(batch.filter(pl.col("ts") == rows["ts"][0]))
