"""Windows of clean/book: the mid's change and the order flow imbalance of the same time."""

import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray.tables import level_columns

Floats = npt.NDArray[np.float64]
STEPS_PER_S = 10
"""Rows of clean/book a second."""


def windows(book: pl.DataFrame, seconds: int, tick: float, levels: int = 1) -> tuple[Floats, Floats]:
    """(n,) mid changes in ticks and (n, levels) order flow imbalances of each level, base units.

    Of windows of so many seconds in which no row is missing and every level's flow is known.
    """
    mid = 0.5 * (book["bid_px_01"] + book["ask_px_01"]).to_numpy() / tick
    ofi = book.select(pl.col(level_columns("ofi", levels)).fill_null(float("nan"))).to_numpy()
    size = seconds * STEPS_PER_S
    count = (len(mid) - 1) // size
    moves = np.diff(mid[: count * size + 1 : size])
    flows = ofi[1 : count * size + 1].reshape(count, size, levels).sum(axis=1)
    span_us = np.diff(book["ts"].dt.epoch("us").to_numpy()[: count * size + 1 : size])
    whole = (span_us == seconds * 1_000_000) & ~np.isnan(flows).any(axis=1)
    return moves[whole], flows[whole]
