"""The data a backtest used: span, rows, gaps and coverage of each symbol."""

from dataclasses import dataclass

import numpy as np

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report.style import duration_name, enumerated, time_text, typeset
from midas_ray.features.nulls import NullKind
from midas_ray.page import Cell, Page, Table

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is missing in the rows of one symbol."""

    missing: int
    """Buckets of the span without a row."""
    touched: int
    """Rows in which a column that the data have is null because of a gap."""
    longest: int
    """Buckets in a row that are missing or touched by a gap."""
    coverage: float
    """Share of the span's buckets with a row that no gap touched."""


def gaps_of(panel: Panel, index: int) -> Gaps:
    """Gaps of one symbol of the panel."""
    own = panel.symbol_index == index
    ts_us, kinds = panel.ts_us[own], panel.kinds[own]
    held = (kinds == NullKind.VALUE).any(axis=0)  # a column that the data never have is no gap
    touched = (kinds[:, held] == NullKind.GAP).any(axis=1)
    bucket = (ts_us - ts_us[0]) // panel.bucket_us
    buckets = int(bucket[-1]) + 1
    between = np.diff(np.concatenate([[-1], bucket[~touched], [buckets]])) - 1
    return Gaps(
        missing=buckets - len(ts_us),
        touched=int(touched.sum()),
        longest=int(between.max()),
        coverage=float((~touched).sum()) / buckets,
    )


def section(page: Page, outcome: Outcome) -> None:
    """A sentence on the gaps and a table by symbol."""
    panel = outcome.panel
    found = {symbol: gaps_of(panel, index) for index, symbol in enumerate(panel.symbols)}
    page.section("Data used")
    page.text(typeset(_sentence(outcome, found)))
    page.table(_table(outcome, found))
    page.text(
        "The price forecast is the close of each bucket: the data hold bars and no book, so there is no spread to "
        "pay in the "
        "trading figures."
        if panel.price_source == "close"
        else "The price forecast is the midprice at the end of each bucket."
    )


def _sentence(outcome: Outcome, found: dict[str, Gaps]) -> str:
    panel, held = outcome.panel, outcome.data.symbols.values()
    first, last = min(one.first_us for one in held), max(one.last_us for one in held)
    days = (last - first + panel.bucket_us) / _DAY_US
    opening = (
        f"{sum(one.rows for one in held):,} rows of {panel.bucket_ms / 1000:g} s from {panel.venue}, "
        f"{time_text(first)} to "
        f"{time_text(last)} UTC ({days:.1f} days)"
    )
    holes = [symbol for symbol, gaps in found.items() if gaps.longest]
    if not holes:
        return f"{opening}, without a gap."
    worst = min(holes, key=lambda symbol: found[symbol].coverage)
    named = enumerated(holes) if len(holes) <= 4 else f"{len(holes)} symbols"
    return (
        f"{opening}. {named} {'has' if len(holes) == 1 else 'have'} gaps; the lowest coverage is "
        f"{100 * found[worst].coverage:.2f} % ({worst}). What a gap touches is null, and no window reaches over it."
    )


def _table(outcome: Outcome, found: dict[str, Gaps]) -> Table:
    panel = outcome.panel
    judged = np.bincount(outcome.forecasts.symbol_index, minlength=len(panel.symbols))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            symbol,
            f"{time_text(held.first_us)} to {time_text(held.last_us)}",
            held.rows,
            found[symbol].missing,
            found[symbol].touched,
            typeset(duration_name(panel.bucket_ms, found[symbol].longest)) if found[symbol].longest else "none",
            typeset(f"{100 * found[symbol].coverage:.2f} %"),
            int(judged[index]),
        )
        for index, (symbol, held) in enumerate(outcome.data.symbols.items())
    )
    return Table(
        (
            "symbol", "span, UTC", "rows", "buckets without a row", "rows a gap touched", "longest gap", "coverage",
            "windows judged",
        ),
        rows,
        digits=0,
    )  # fmt: skip
