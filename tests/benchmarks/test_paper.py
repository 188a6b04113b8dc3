"""Windows of price change and order flow, and what the regressions on them say of planted relations."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from benchmarks.ofi import windows
from midas_ray.tables import level_columns

START = datetime(2026, 1, 5, tzinfo=UTC)


def book_of(mids: list[float], flows: list[float]) -> pl.DataFrame:
    """Rows each 100 ms with a spread of 2; the flow at level m is m times the best level's."""
    frame = pl.DataFrame(
        {
            "ts": [START + timedelta(milliseconds=100 * row) for row in range(len(mids))],
            "bid_px_01": [mid - 1.0 for mid in mids],
            "ask_px_01": [mid + 1.0 for mid in mids],
            "flow": flows,
        },
        schema_overrides={"ts": pl.Datetime("us", "UTC"), "flow": pl.Float64},
    )
    return frame.with_columns(
        (pl.col("flow") * level).alias(name) for level, name in enumerate(level_columns("ofi", 10), 1)
    )


def test_a_window_is_the_rows_after_its_start_up_to_its_end() -> None:
    mids = [100.0] * 10 + [103.0] * 10 + [101.0]
    moves, flows = windows(book_of(mids, [1000.0] + [1.0] * 10 + [2.0] * 10), 1, tick=0.5, levels=2)
    assert moves.tolist() == [6.0, -4.0]
    assert flows.tolist() == [[10.0, 20.0], [20.0, 40.0]]


def test_a_window_with_a_missing_row_or_an_unknown_flow_is_left_out() -> None:
    book = book_of([100.0 + row for row in range(31)], [1.0] * 31)
    missing = book.with_columns(
        pl.when(pl.int_range(31) < 25).then("ts").otherwise(pl.col("ts") + timedelta(seconds=1))
    )
    assert windows(missing, 1, tick=1.0)[0].tolist() == [10.0, 10.0]
    unknown = book.with_columns(ofi_02=pl.when(pl.int_range(31) == 15).then(None).otherwise("ofi_02"))
    assert len(windows(unknown, 1, tick=1.0, levels=1)[0]) == 3
    assert len(windows(unknown, 1, tick=1.0, levels=2)[0]) == 2


def test_a_planted_relation_is_found_in_and_out_of_sample() -> None:
    paper = pytest.importorskip("benchmarks.paper", reason="needs the extra bench: make bench installs it")
    rng = np.random.default_rng(1)
    common = rng.normal(size=4000)
    flows = np.outer(common, np.arange(1, 4)) + 0.1 * rng.normal(size=(4000, 3))
    moves = 2.0 * common + rng.normal(size=4000)  # R^2 = 4 / 5
    for integrate in (False, True):
        fit = paper.regress(moves, flows, 500, integrate=integrate)
        assert fit.r2 == pytest.approx(0.8, abs=0.02)
        assert fit.out == pytest.approx(0.8, abs=0.03)
        assert fit.blocks == pytest.approx(0.8, abs=0.03)
        assert math.isnan(fit.t) is not integrate
    assert paper.component(flows) == pytest.approx(np.arange(1, 4) / 6, abs=0.01)


def test_noise_explains_nothing_out_of_sample_however_many_levels() -> None:
    paper = pytest.importorskip("benchmarks.paper", reason="needs the extra bench: make bench installs it")
    rng = np.random.default_rng(2)
    fit = paper.regress(rng.normal(size=30), rng.normal(size=(30, 10)), 1800)
    assert fit.r2 > 0.1
    assert fit.out < 0
    assert math.isnan(fit.blocks)
