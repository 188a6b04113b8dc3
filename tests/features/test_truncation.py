"""Nothing sees the future: cutting the input after t changes no feature at or before t. Over all 72, bit for bit."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from midas_ray.features.registry import FEATURE_NAMES
from midas_ray.storage import Storage
from tests.features.clean_data import (
    HOUR_US,
    MINUTE_US,
    START_US,
    Market,
    make_market,
    timestamps,
    with_another_future,
    with_book_gap,
    with_trade_gap,
    write_clean,
)
from tests.features.serial import features_of

BEGIN_US = START_US - 2 * HOUR_US
"""22:00 UTC: the day changes inside, with enough covered minutes before it."""


@pytest.fixture(scope="module")
def market() -> Market:
    whole = make_market(6, start_us=BEGIN_US, grid_ms=1000, trades_an_hour=1200)
    lost_book = with_book_gap(whole, BEGIN_US + 200 * MINUTE_US, BEGIN_US + 203 * MINUTE_US)
    return with_trade_gap(lost_book, BEGIN_US + 240 * MINUTE_US, BEGIN_US + 241 * MINUTE_US)


@pytest.fixture(scope="module")
def whole(market: Market, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    storage = Storage(str(tmp_path_factory.mktemp("whole")))
    write_clean(storage, market)
    return features_of(storage)


def test_every_feature_has_numbers_here(whole: pl.DataFrame) -> None:
    counts = whole.select(FEATURE_NAMES).count().row(0, named=True)
    assert {name for name, count in counts.items() if count < 60} == set()


@pytest.mark.parametrize("minutes", [45, 75, 130, 175, 206, 300])
def test_cutting_the_input_changes_nothing_before(
    minutes: int, market: Market, whole: pl.DataFrame, tmp_path: Path
) -> None:
    cut_us = BEGIN_US + minutes * MINUTE_US
    storage = Storage(str(tmp_path))
    write_clean(storage, market.until(cut_us))
    cut = features_of(storage)
    assert cut.height == minutes
    before = whole.filter(pl.col("ts") <= timestamps([cut_us])[0])
    assert_frame_equal(cut, before, check_exact=True)


@pytest.mark.parametrize("minutes", [64, 75, 130, 175, 206, 300])
def test_another_future_changes_nothing_before(
    minutes: int, market: Market, whole: pl.DataFrame, tmp_path: Path
) -> None:
    """Sharper than a cut: a print too many does not show in every feature, one a thousand times as large does."""
    at_us = BEGIN_US + minutes * MINUTE_US
    storage = Storage(str(tmp_path))
    write_clean(storage, with_another_future(market, at_us))
    other = features_of(storage)
    till = pl.col("ts").cast(pl.Int64) <= at_us
    assert_frame_equal(other.filter(till), whole.filter(till), check_exact=True)
    assert (other.height, other.filter(till).height) == (360, minutes)
    changed = other.select(FEATURE_NAMES).row(minutes) != whole.select(FEATURE_NAMES).row(minutes)
    assert changed, "the future is another one"
