"""Which windows a panel holds, and what happened after each of them.

Shapes: n rows of the panel, w windows, L input buckets, H horizons.
A window is named by its origin: the row t whose moment is "now". Inputs are rows t-L+1 ... t, labels the prices at
t+1 ... t+H.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas_ray.dataset.panel import FloatArray, IntArray, Panel
from midas_ray.errors import TooFewRowsError
from midas_ray.features.nulls import NullKind

BoolArray = npt.NDArray[np.bool_]


def _run_lengths(good: BoolArray, starts: BoolArray) -> IntArray:
    """(n,) length of the run of good rows that ends at each row; a run never reaches back over a row in `starts`."""
    position = np.arange(len(good))
    broken = np.where(good & ~starts, -1, np.where(good, position - 1, position))
    return np.where(good, position - np.maximum.accumulate(broken), 0) if len(good) else position


def _starts(panel: Panel) -> BoolArray:
    """(n,) rows that do not directly follow the row before: another symbol, or calendar buckets in between."""
    starts = np.ones(len(panel), dtype=np.bool_)
    starts[1:] = (np.diff(panel.symbol_index) != 0) | (np.diff(panel.ts_us) != panel.bucket_us)
    return starts


def usable_rows(panel: Panel, columns: Sequence[str]) -> BoolArray:
    """(n,) rows whose P is known and whose `columns` have no gap or warm-up null (undefined ones are allowed)."""
    kinds = panel.kinds[:, panel.positions(tuple(columns))]
    blocked = ((kinds == NullKind.GAP) | (kinds == NullKind.WARM_UP)).any(axis=1)
    return ~blocked & ~np.isnan(panel.price)


def window_origins(panel: Panel, input_length: int, output_length: int, columns: Sequence[str]) -> IntArray:
    """(w,) row indices t of all windows, sorted by (ts, symbol).

    A window has L rows t-L+1 ... t of consecutive buckets of one symbol, without gap or warm-up nulls in `columns` and
    with P known, followed by H consecutive buckets whose P is known. No `columns`: what the prices alone allow.
    """
    starts = _starts(panel)
    inputs_end = _run_lengths(usable_rows(panel, columns), starts) >= input_length
    labels_end = _run_lengths(~np.isnan(panel.price), starts) >= output_length + 1
    origin = np.zeros(len(panel), dtype=np.bool_)
    if len(panel) > output_length:
        last = len(panel) - output_length
        origin[:last] = inputs_end[:last] & labels_end[output_length:]
    rows = np.flatnonzero(origin)
    return rows[np.lexsort((panel.symbol_index[rows], panel.ts_us[rows]))]


def targets_bps(panel: Panel, origins: IntArray, output_length: int) -> FloatArray:
    """(w, H) 1e4 ln(P_{t+h}/P_t) for h = 1 ... H, in basis points."""
    ahead = origins[:, None] + np.arange(1, output_length + 1)
    result: FloatArray = 1e4 * np.log(panel.price[ahead] / panel.price[origins][:, None])
    return result


@dataclass(frozen=True, slots=True)
class WindowCosts:
    """Where the rows of a panel went: what gaps and warm-up cost."""

    rows: int
    gap_rows: int
    """Rows with a gap null in a chosen column, or without P."""
    warm_up_rows: int
    """Rows with a warm-up null in a chosen column, and no gap."""
    windows_by_price: int
    """Windows that the prices alone would allow."""
    windows: int

    def sentence(self) -> str:
        return (
            f"{self.windows} windows of {self.windows_by_price} that the prices allow, from {self.rows} rows: "
            f"warm-up costs {self.warm_up_rows} rows, gaps {self.gap_rows}"
        )


def window_costs(panel: Panel, input_length: int, output_length: int, columns: Sequence[str]) -> WindowCosts:
    """What gaps and warm-up cost with these `columns`."""
    kinds = panel.kinds[:, panel.positions(tuple(columns))]
    gap = (kinds == NullKind.GAP).any(axis=1) | np.isnan(panel.price)
    warm_up = (kinds == NullKind.WARM_UP).any(axis=1) & ~gap
    return WindowCosts(
        rows=len(panel),
        gap_rows=int(gap.sum()),
        warm_up_rows=int(warm_up.sum()),
        windows_by_price=len(window_origins(panel, input_length, output_length, ())),
        windows=len(window_origins(panel, input_length, output_length, columns)),
    )


def require_windows(
    panel: Panel, origins: IntArray, input_length: int, output_length: int, columns: Sequence[str]
) -> None:
    """Raises TooFewRowsError where `origins` is empty, saying how many rows in a row a window needs and there are."""
    if len(origins):
        return
    longest = int(_run_lengths(usable_rows(panel, columns), _starts(panel)).max(initial=0))
    raise TooFewRowsError(
        f"too few rows for one window: expected {input_length + output_length} consecutive buckets "
        f"({input_length} input + {output_length} forecast), found {len(panel)} rows, at most {longest} in a row "
        "without gap or warm-up; collect more, or lower --input-length"
    )
