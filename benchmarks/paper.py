"""Do order flow imbalances of this project explain prices as published? Regressions on the real captures.

    python -m benchmarks.paper

Each capture goes through the project's own import and reconstruct; the mid's change over a window (ticks) is regressed
on the order flow imbalance of the same window, `ofi_01` ... `ofi_10` of clean/book summed:

- best: the best level's (Cont, Kukanov and Stoikov 2014, equation 7);
- levels: ten levels as ten regressors (Xu, Gould and Howison 2018);
- integrated: their first principal component, weights scaled to sum to one (Cont, Cucuringu and Zhang 2023).

R^2 in sample over all windows; out of sample fitted (component too) on the first half and judged on the second, against
the second half's own mean; and as the mean over half hours, each fitted alone, as the first paper does it. The slope's
t-statistic has Newey-West errors.
"""

import math
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl
import statsmodels.api as sm

from benchmarks.clean import CAPTURES, Capture, absent, clean_tables, import_capture
from benchmarks.ofi import Floats, windows
from benchmarks.rows import Row, finish, parser_of

SECONDS = (1, 10)
LEVELS = 10
FEWEST = 25
"""Windows below which no regression is made."""
HALF_HOUR_S = 1800


@dataclass(frozen=True, slots=True)
class Fit:
    """A regression of moves on flows. out: R^2 on the second half of a fit on the first. t: of the slope, NaN where
    there are ten. blocks: mean R^2 of half hours fitted alone; NaN where there are under two of them."""

    r2: float
    out: float
    t: float
    blocks: float


def component(flows: Floats) -> Floats:
    """(levels,) weights of the first principal component, absolute values summing to one, on the side of the flow."""
    _, vectors = np.linalg.eigh(np.cov(flows, rowvar=False))
    first = vectors[:, -1]
    return first / np.abs(first).sum() * np.sign(first.sum())


def r_squared(moves: Floats, fitted: Floats) -> float:
    """Share of the moves' variance about their own mean that is explained; negative where the mean does better."""
    around = ((moves - moves.mean()) ** 2).sum()
    return math.nan if around == 0.0 else float(1.0 - ((moves - fitted) ** 2).sum() / around)


def _solved(flows: Floats, moves: Floats, others: Floats) -> Floats:
    """What a least-squares fit with intercept on (flows, moves) says of other flows."""
    return np.asarray(sm.OLS(moves, sm.add_constant(flows)).fit().predict(sm.add_constant(others, has_constant="add")))


def regress(moves: Floats, flows: Floats, per_half_hour: int, integrate: bool = False) -> Fit:
    """moves: (n,) ticks; flows: (n, k) base units; integrate: take their first component instead of all of them."""

    def inputs(seen: Floats, others: Floats) -> tuple[Floats, Floats]:
        if not integrate:
            return seen, others
        weights = component(seen)
        return (seen @ weights)[:, None], (others @ weights)[:, None]

    own, _ = inputs(flows, flows)
    lags = math.floor(4 * (len(moves) / 100) ** (2 / 9))
    result = sm.OLS(moves, sm.add_constant(own)).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    half = len(moves) // 2
    seen, later = inputs(flows[:half], flows[half:])
    blocks = []
    for start in range(0, len(moves) - per_half_hour + 1, per_half_hour):
        part = slice(start, start + per_half_hour)
        alone, _ = inputs(flows[part], flows[part])
        if moves[part].std() > 0.0 and (alone.std(axis=0) > 0.0).all():
            blocks.append(r_squared(moves[part], _solved(alone, moves[part], alone)))
    return Fit(
        r2=float(result.rsquared),
        out=r_squared(moves[half:], _solved(seen, moves[:half], later)),
        t=float(result.tvalues[1]) if own.shape[1] == 1 else math.nan,
        blocks=float(np.mean(blocks)) if len(blocks) > 1 else math.nan,
    )


def fits(book: pl.DataFrame, seconds: int, tick: float) -> tuple[dict[str, Fit], int, float]:
    """(fits by kind, windows, share of windows in which the mid did not move)."""
    moves, flows = windows(book, seconds, tick, LEVELS)
    if len(moves) < FEWEST:
        return {}, len(moves), math.nan
    a_half_hour = HALF_HOUR_S // seconds
    found = {
        "best": regress(moves, flows[:, :1], a_half_hour),
        "levels": regress(moves, flows, a_half_hour),
        "integrated": regress(moves, flows, a_half_hour, integrate=True),
    }
    return found, len(moves), float((moves == 0).mean())


def rows_of(capture: Capture, book: pl.DataFrame) -> list[Row]:
    """The capture's rows: R^2 in sample as the value, the rest in the note."""
    spread = ((book["ask_px_01"] - book["bid_px_01"]) / capture.tick).mean()
    tick_bps = 1e4 * capture.tick / float(book["bid_px_01"].mean())  # type: ignore[arg-type]
    name = f"paper: {capture.symbol}, {capture.venue}, tick {tick_bps:.2f} bps, spread {spread:.1f} ticks"
    rows = []
    for seconds in SECONDS:
        found, n, still = fits(book, seconds, capture.tick)
        if not found:
            print(f"{name}: {n} whole windows of {seconds} s, expected {FEWEST}: left out", file=sys.stderr)
        for kind, fit in found.items():
            note = f"out of sample {100 * fit.out:.1f} %"
            note += f", half hours {100 * fit.blocks:.1f} %" * (not math.isnan(fit.blocks))
            note += f", t {fit.t:.1f}" * (not math.isnan(fit.t))
            note += f", {n:,} windows, {100 * still:.0f} % without a move" * (kind == "best")
            what = f"R^2 at {seconds} s, {kind}"
            rows.append(Row(benchmark=name, what=what, value=100 * fit.r2, unit="%", note=note))
    return rows


def main() -> None:
    arguments = parser_of(__doc__).parse_args()
    rows: list[Row] = []
    for capture in CAPTURES:
        with tempfile.TemporaryDirectory() as folder:
            if not import_capture(Path(folder), capture):
                print(f"{capture.venue} {capture.symbol}: {absent(capture)}", file=sys.stderr)
                continue
            book, _ = clean_tables(folder, capture.venue, capture.symbol)
        rows += rows_of(capture, book)
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()
