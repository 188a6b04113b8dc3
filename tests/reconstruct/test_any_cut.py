"""One market, recorded and reconstructed in any way: the same rows, bit for bit, each once."""

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.cli import main
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files, read_manifest, up_to_date
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage
from tests.features.serial import read_features, run_features
from tests.reconstruct.market import Market
from tests.reconstruct.test_ledger import STEPS
from tests.reconstruct.test_reconstruct import SYMBOL, VENUE

TABLES = ("book", "trades", "gaps")
LOCAL = {"trades": ["recv_ns"], "gaps": ["first_recv_ns"]}
"""Columns of the local clock."""


@dataclass(frozen=True)
class Way:
    """How a market is recorded and reconstructed.

    latency_ms: the local clock less the exchange's. rotate: share of frames before which a new file begins. runs: share
    of steps after which all is brought up to date. shuffle: tasks run in a random order, some twice. growing: the last
    file is left open.
    """

    seed: int = 0
    latency_ms: int = 5
    rotate: float = 0.0
    runs: float = 0.0
    pack_bytes: int = 2**40
    shuffle: bool = False
    growing: bool = False


class CutMarket(Market):
    """A market whose recorder begins a new file where the way says so."""

    way = Way()

    def frame(self, stream: str, data: dict[str, object]) -> None:
        if self.chance.random() < self.way.rotate:
            self.recorder._journal._max_bytes = 0  # full, whatever it holds
        super().frame(stream, data)
        self.recorder._journal._max_bytes = 2**40

    def restart(self, down_ms: int, *, kill: bool = False) -> None:
        super().restart(down_ms + 1, kill=kill)  # no process begins in the nanosecond in which another file began

    @classmethod
    def begun(cls, root: Path, seed: int, way: Way) -> "CutMarket":
        """A live book, and a trade."""
        market = cls(root, seed=seed, latency_ms=way.latency_ms)
        market.way, market.chance = way, random.Random(way.seed)
        market.open()
        market.depth(50)
        market.snapshot()
        market.depth(1000)
        market.trade()
        return market


def settings_of(step_ms: int) -> BookSettings:
    return BookSettings(snapshot_interval_ms=step_ms)


def bring_up_to_date(root: Path, way: Way, step_ms: int, chance: random.Random) -> None:
    """Every task of what is not up to date, in the order of the way."""
    storage, book = Storage(str(root)), settings_of(step_ms)
    files = raw_files(storage, VENUE, SYMBOL)
    keys = hour_keys(files, book)
    done = up_to_date(files, keys, read_manifest(storage, VENUE, SYMBOL))
    tasks = plan_tasks(VENUE, SYMBOL, files, keys, done, way.pack_bytes)
    if way.shuffle and tasks:
        tasks += chance.sample(tasks, k=min(2, len(tasks)))
        chance.shuffle(tasks)
    for task in tasks:
        reconstruct_hours(str(root), task, book)


def made(
    seed: int, steps: list[str], way: Way, *, step_ms: int = 1000, features: bool = False
) -> dict[str, pl.DataFrame]:
    """Every clean table, and the features, of a market recorded and reconstructed in a way."""
    with tempfile.TemporaryDirectory() as folder:
        root, chance = Path(folder), random.Random(way.seed + 1)
        market = CutMarket.begun(root, seed, way)
        for step in steps:
            STEPS[step](market)
            if chance.random() < way.runs:
                market.recorder.flush()
                bring_up_to_date(root, way, step_ms, chance)
        market.depth(1500)
        if way.growing:
            market.recorder.flush()
        else:
            market.close()
        bring_up_to_date(root, way, step_ms, chance)
        found = tables_of(root)
        if features:
            run_features(Storage(folder), SYMBOL)
            found["features"] = read_features(Storage(folder), SYMBOL)
        return found


def tables_of(root: Path) -> dict[str, pl.DataFrame]:
    """The clean tables that there are, but for columns of the local clock."""
    storage, found = Storage(str(root)), {}
    for name in TABLES:
        paths = storage.list_files(f"clean/{name}", ".parquet")
        if paths:
            frame = pl.concat([pl.DataFrame(storage.read_parquet(path)) for path in paths])
            found[name] = frame.drop(LOCAL.get(name, []))
    return found


def assert_same_bits(found: dict[str, pl.DataFrame], wanted: dict[str, pl.DataFrame]) -> None:
    """Equal tables, -0.0 and 0.0 told apart, and no row twice."""
    assert found.keys() == wanted.keys()
    for name, frame in wanted.items():
        assert found[name].schema == frame.schema
        for column in frame.columns:
            one, other = bits(found[name][column]), bits(frame[column])
            assert one.equals(other, null_equal=True), f"{name}.{column}"
    assert wanted["book"]["ts"].n_unique() == len(wanted["book"])
    if "trades" in wanted:
        assert wanted["trades"]["trade_id"].n_unique() == len(wanted["trades"])


def bits(column: pl.Series) -> pl.Series:
    return column.reinterpret(signed=False) if column.dtype == pl.Float64 else column


ways = st.builds(
    Way,
    seed=st.integers(0, 2**20),
    latency_ms=st.sampled_from([-55_000, -1300, 0, 5, 900, 55_000]),
    rotate=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    runs=st.sampled_from([0.0, 0.3]),
    pack_bytes=st.sampled_from([1, 3000, 2**40]),
    shuffle=st.booleans(),
    growing=st.booleans(),
)


@given(st.integers(0, 2**20), st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=12), ways)
@settings(deadline=None, max_examples=15, derandomize=True)
def test_any_way_gives_the_same_rows(seed: int, steps: list[str], way: Way) -> None:
    plain = made(seed, steps, Way(growing=way.growing))
    assert_same_bits(made(seed, steps, way), plain)


@given(st.integers(0, 2**20), st.lists(st.sampled_from(sorted(STEPS)), min_size=4, max_size=8), ways)
@settings(deadline=None, max_examples=4, derandomize=True)
def test_any_way_gives_the_same_features(seed: int, steps: list[str], way: Way) -> None:
    steps = ["minutes", *steps, "minutes"]
    plain = made(seed, steps, Way(growing=way.growing), features=True)
    assert len(plain["features"]) >= 10
    assert_same_bits(made(seed, steps, way, features=True), plain)


def test_ray_gives_the_same_rows(tmp_path: Path, ray_local: None) -> None:
    """Both workers at once, a task an hour, against one task in this process."""
    steps = ["minutes", "hour", "minutes", "lose", "snapshot", "restart", "hour", "snapshot", "minutes"]
    market = CutMarket.begun(tmp_path, 3, Way(rotate=0.1))
    for step in steps:
        STEPS[step](market)
    market.depth(1500)
    market.close()
    assert main(["reconstruct", "--data-dir", str(tmp_path), "--snapshot-interval-ms", "1000"]) == 0
    assert main(["features", "--data-dir", str(tmp_path)]) == 0
    found = tables_of(tmp_path) | {"features": read_features(Storage(str(tmp_path)), SYMBOL)}
    assert_same_bits(found, made(3, steps, Way(), features=True))
