"""`midas features` against the independent reference: values, null kinds and coverage of all columns."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from midas_ray.features.registry import FEATURE_NAMES
from midas_ray.storage import Storage
from tests.features.raw_market import SYMBOL, VENUE, make_features, reconstruct, write_raw
from tests.features.reference.buckets import Buckets
from tests.features.reference.clean import Column, Null, read_clean
from tests.features.reference.features import differences, reference_features


@dataclass
class Pair:
    """The product's table and the reference of its rows."""

    table: pl.DataFrame
    buckets: Buckets
    columns: dict[str, Column]


def read_features(data_dir: Path, venue: str, symbol: str) -> pl.DataFrame:
    storage = Storage(str(data_dir))
    paths = storage.list_files(f"features/venue={venue}/symbol={symbol}", ".parquet")
    return pl.concat([pl.DataFrame(storage.read_parquet(path)) for path in paths]).sort("ts")


@pytest.fixture(scope="module")
def raw_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """raw -> clean -> features of four hours in which everything goes wrong once."""
    root = tmp_path_factory.mktemp("raw_market")
    write_raw(root)
    reconstruct(root)
    make_features(root)
    return root


@pytest.fixture(scope="module")
def synthetic(raw_market: Path) -> Pair:
    buckets = Buckets(read_clean(raw_market, VENUE, SYMBOL))
    return Pair(read_features(raw_market, VENUE, SYMBOL), buckets, reference_features(buckets))


@pytest.fixture(scope="module")
def other_settings(raw_market: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Buckets of 20 s, larger volume buckets, a given notional that ten levels do not always hold."""
    root = tmp_path_factory.mktemp("other_settings")
    (root / "clean").symlink_to(raw_market / "clean")
    make_features(root, time_bucket_ms=20_000, vpin_bucket_share=1 / 90, cost_notional=2300.0)
    buckets = Buckets(read_clean(root, VENUE, SYMBOL), 20_000_000, vpin_share=1 / 90, cost_notional=2300.0)
    columns = reference_features(buckets, cost_buckets=set(buckets.times[::5]))
    return Pair(read_features(root, VENUE, SYMBOL), buckets, columns)


@pytest.fixture(scope="module")
def real(nexo_data: Path) -> Pair:
    """The first 20 hours of the real capture, over midnight; costs in every 23rd bucket."""
    buckets = Buckets(read_clean(nexo_data, "binance-spot", "nexousdt", first_hours=20))
    columns = reference_features(buckets, cost_buckets=set(buckets.times[::23]))
    table = read_features(nexo_data, "binance-spot", "nexousdt")
    return Pair(table.filter(pl.col("ts").cast(pl.Int64) <= buckets.times[-1]), buckets, columns)


def check_rows_and_coverage(pair: Pair) -> None:
    times = pair.table["ts"].cast(pl.Int64).to_list()
    assert times == pair.buckets.times
    assert pair.table["coverage"].to_list() == [pair.buckets.coverage[t] for t in times]
    assert pair.table["trades_coverage"].to_list() == [pair.buckets.trades_coverage[t] for t in times]


def test_everything_went_wrong_once(synthetic: Pair) -> None:
    """The comparison is worth something: the input shows every kind of trouble, the table every kind of null."""
    clean = synthetic.buckets.clean
    assert len(clean.trade_gaps) == 2
    assert len(set(clean.book_lot.values())) == len(set(clean.trade_lot.values())) == 2, "decimals by the hour"
    assert {"gap", "live"} <= set(states(synthetic))
    assert (clean.live & ~(clean.ask_px[:, 0] > 0)).any(), "a book with one side"
    assert (clean.live & (clean.bid_px[:, 5] > 0) & ~(clean.bid_px[:, 9] > 0)).any(), "missing levels"
    coverage = synthetic.table["coverage"]
    assert ((coverage > 0) & (coverage < 1)).sum() >= 5
    assert synthetic.table["ts"].diff().n_unique() == 3, "down times: null, a minute, more"
    assert synthetic.table["volume"].is_in([0.0]).sum() >= 3, "minutes without prints"
    assert synthetic.table["ts"].dt.date().n_unique() == 2, "midnight"
    kinds = {byte for each in synthetic.table["null_kinds"] for byte in each}
    assert kinds == {0, 1, 2, 3}
    assert {name for name in FEATURE_NAMES if synthetic.table[name].count() < 100} == set()


def states(pair: Pair) -> list[str]:
    return ["live" if live else "gap" for live in pair.buckets.clean.live.tolist()]


def test_rows_and_coverage(synthetic: Pair) -> None:
    check_rows_and_coverage(synthetic)


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_feature(name: str, synthetic: Pair) -> None:
    assert set(synthetic.columns[name]) == set(synthetic.buckets.times)
    assert differences(name, synthetic.table, synthetic.columns[name]) == []


def test_rows_and_coverage_with_other_settings(other_settings: Pair) -> None:
    check_rows_and_coverage(other_settings)
    costs = {kind_of(cell) for cell in other_settings.columns["cost_to_buy_bps"].values()}
    assert {"number", "UNDEFINED"} <= costs, "a notional that some buckets hold and others do not"


def kind_of(cell: float | Null) -> str:
    return cell.name if isinstance(cell, Null) else "number"


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_feature_with_other_settings(name: str, other_settings: Pair) -> None:
    assert differences(name, other_settings.table, other_settings.columns[name]) == []


@pytest.mark.real
def test_rows_and_coverage_of_the_real_capture(real: Pair) -> None:
    check_rows_and_coverage(real)


@pytest.mark.real
@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_feature_of_the_real_capture(name: str, real: Pair) -> None:
    assert len(real.columns[name]) >= 50
    assert differences(name, real.table, real.columns[name]) == []


def test_a_second_run_does_nothing(raw_market: Path) -> None:
    def stamps() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in raw_market.rglob("*") if path.is_file()}

    before = stamps()
    assert set(make_features(raw_market).values()) == {0}
    assert stamps() == before


def test_one_task_an_hour_gives_the_same_bits(raw_market: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").symlink_to(raw_market / "raw")
    reconstruct(tmp_path, pack_bytes=1)
    make_features(tmp_path)
    assert read_features(tmp_path, VENUE, SYMBOL).equals(read_features(raw_market, VENUE, SYMBOL))


def test_other_raw_files_of_the_same_market_give_the_same_bits(raw_market: Path, tmp_path: Path) -> None:
    write_raw(tmp_path, max_bytes=60_000)
    assert len(list(tmp_path.rglob("*.zst"))) > 2 * len(list((raw_market / "raw").rglob("*.zst")))
    reconstruct(tmp_path)
    make_features(tmp_path)
    assert read_features(tmp_path, VENUE, SYMBOL).equals(read_features(raw_market, VENUE, SYMBOL))
