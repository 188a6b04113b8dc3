"""Figures of the data-quality page."""

from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_NAMES
from midas_ray.page import Colour
from midas_ray.quality.findings import EPOCH, utc_text
from midas_ray.quality.latency import LatencySketch
from midas_ray.quality.scan import SymbolQuality
from midas_ray.quality.source import HOUR_US

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MAX_POINTS = 1500
MAX_STRIP_CELLS = 1500
LATENCY_BARS = 80

CAUSE_COLOURS = {
    "venue": Colour.bad,
    "network": Colour.baseline_a,
    "both-missed": Colour.baseline_b,
    "overrun": Colour.model,
    "disk": Colour.ink,
    "down": Colour.reference,
}
KIND_COLOURS = {
    NullKind.GAP: Colour.bad,
    NullKind.WARM_UP: Colour.reference,
    NullKind.UNDEFINED: Colour.baseline_a,
}
LINE_COLOURS = (Colour.model, Colour.baseline_a, Colour.baseline_b, Colour.good, Colour.bad, Colour.muted)
_LIVE_SCALE = [[0.0, Colour.bad], [0.9, Colour.baseline_a], [0.99, "#ecd9a8"], [1.0, Colour.good]]


def moments(ts_us: IntArray) -> list[datetime]:
    """Times without a zone, since plotly shows what it is given; all are UTC."""
    return [(EPOCH + timedelta(microseconds=us)).replace(tzinfo=None) for us in ts_us.tolist()]


def coverage_strip(qualities: list[SymbolQuality]) -> tuple[go.Figure, str]:
    """(live share of the rows by hour, or by more hours where the span is long; a symbol a row; the cell's length)."""
    hours = np.array(sorted({hour for quality in qualities for hour in quality.book.hours}), dtype=np.int64)
    cells = int((hours[-1] - hours[0]) // HOUR_US) + 1
    group = next(size for size in (1, 6, 24, 24 * 7, 24 * 30) if cells <= size * MAX_STRIP_CELLS or size == 24 * 30)
    cell_us = group * HOUR_US
    first = int(hours[0]) // cell_us * cell_us
    x_us = np.arange(first, int(hours[-1]) + 1, cell_us)
    rows, live = np.zeros((2, len(qualities), len(x_us)))
    for y, quality in enumerate(qualities):
        for start, hour in quality.book.hours.items():
            rows[y, (start - first) // cell_us] += hour.rows
            live[y, (start - first) // cell_us] += hour.live
    share = np.divide(live, rows, out=np.full(rows.shape, np.nan), where=rows > 0)
    figure = go.Figure(
        go.Heatmap(
            x=moments(np.append(x_us, x_us[-1] + cell_us)),  # edges: a single cell has a width too
            y=[quality.symbol for quality in qualities],
            z=_with_none(share),
            customdata=np.stack([live, rows], axis=-1),
            text=[[utc_text(us)[:16] for us in x_us.tolist()]] * len(qualities),
            hovertemplate="%{y} %{text}: %{customdata[0]:,} of %{customdata[1]:,} rows live<extra></extra>",
            colorscale=_LIVE_SCALE,
            zmin=0,
            zmax=1,
            ygap=3,
            xgap=1 if len(x_us) <= 200 else 0,
            showscale=False,
        )
    )
    ends = moments(np.array([x_us[0], x_us[-1] + cell_us]))
    figure.update_xaxes(title_text="UTC", showgrid=False, range=ends)
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    return figure, {1: "hour", 6: "6 hours", 24: "day", 24 * 7: "7 days"}.get(group, "30 days")


def gap_timeline(qualities: list[SymbolQuality]) -> go.Figure:
    """Every gap as a line from its start to its end; symbol and stream a row, colour its cause."""
    figure = go.Figure()
    causes = sorted({gap.cause for quality in qualities for gap in quality.ledger.gaps})
    for cause in causes:
        x: list[datetime | None] = []
        y: list[str | None] = []
        for quality in qualities:
            for gap in quality.ledger.gaps:
                if gap.cause == cause:
                    x += [*moments(np.array([gap.start_us, gap.end_us])), None]
                    y += [f"{quality.symbol} {gap.stream}"] * 2 + [None]
        colour = CAUSE_COLOURS.get(cause, Colour.muted)
        figure.add_scatter(
            x=x, y=y, name=cause, mode="lines+markers", line={"color": colour, "width": 6},
            marker={"color": colour, "size": 7, "symbol": "line-ns-open"}, showlegend=True,
            hovertemplate="%{y} %{x|%Y-%m-%d %H:%M:%S}<extra>" + cause + "</extra>",
        )  # fmt: skip
    spans = [quality.span_us for quality in qualities]
    known = [span for span in spans if span is not None]
    figure.update_xaxes(title_text="UTC", range=moments(np.array([min(s for s, _ in known), max(e for _, e in known)])))
    lines = sorted({f"{quality.symbol} {gap.stream}" for quality in qualities for gap in quality.ledger.gaps})
    figure.update_yaxes(type="category", autorange="reversed", categoryorder="array", categoryarray=lines)
    return figure


def price_and_spread(quality: SymbolQuality) -> go.Figure:
    """Price and, below it, the spread; lines break where there is neither."""
    line = quality.price_line()
    ts_us, price, spread = _thinned(line.ts_us, line.price, line.spread_bps)
    has_spread = bool(np.isfinite(spread).any())
    rows = 2 if has_spread else 1
    figure = make_subplots(
        rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.68, 0.32] if has_spread else None
    )
    times, broken_price, broken_spread = _broken(ts_us, price, spread)
    figure.add_scatter(
        x=times, y=broken_price, mode="lines", line={"color": Colour.model, "width": 1.3}, showlegend=False,
        hovertemplate="%{x|%Y-%m-%d %H:%M} %{y}<extra></extra>", row=1, col=1,
    )  # fmt: skip
    figure.update_yaxes(
        title_text="mid" if has_spread else "close", exponentformat="none", separatethousands=True, row=1, col=1
    )
    if has_spread:
        figure.add_scatter(
            x=times, y=broken_spread, mode="lines", line={"color": Colour.baseline_a, "width": 1.1}, showlegend=False,
            hovertemplate="%{x|%Y-%m-%d %H:%M} %{y:.2f} bps<extra></extra>", row=2, col=1,
        )  # fmt: skip
        figure.update_yaxes(title_text="spread, bps", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title_text="UTC", row=rows, col=1)
    return figure


def latency_histogram(sketches: dict[str, LatencySketch]) -> go.Figure:
    """Share of trades by latency, a line a symbol, over the middle 99 % of all."""
    pooled = LatencySketch()
    for sketch in sketches.values():
        pooled.absorb(sketch)
    low_us, high_us = pooled.percentile_us(0.5), pooled.percentile_us(99.5)
    figure = go.Figure()
    for at, (symbol, sketch) in enumerate(sketches.items()):
        left_ms, counts, width_ms = sketch.clipped(low_us, high_us).histogram(LATENCY_BARS)
        figure.add_scatter(
            x=left_ms + width_ms / 2, y=100 * counts / sketch.n, name=symbol, mode="lines", showlegend=True,
            line={"shape": "hvh", "width": 1.6, "color": LINE_COLOURS[at % len(LINE_COLOURS)]},
            hovertemplate="%{x:,.0f} ms: %{y:.2f} % of trades<extra>" + symbol + "</extra>",
        )  # fmt: skip
    if low_us < 0 < high_us:
        figure.add_vline(x=0, line={"color": Colour.ink, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="receive time − exchange time, ms")
    figure.update_yaxes(title_text="share of trades, %", rangemode="tozero")
    return figure


def null_bars(kinds: IntArray, some: IntArray) -> go.Figure:
    """Share of rows that are null, by kind. kinds: (F, 4) counts; some: positions of the features drawn."""
    rows = kinds.sum(axis=1)
    figure = go.Figure()
    for kind, colour in KIND_COLOURS.items():
        figure.add_bar(
            x=100 * kinds[some, kind] / rows[some],
            y=[FEATURE_NAMES[position] for position in some.tolist()],
            orientation="h",
            name=kind.name.lower().replace("_", "-"),
            marker={"color": colour},
            customdata=kinds[some, kind],
            hovertemplate="%{y}: %{x:.2f} % (%{customdata:,} rows)<extra>" + kind.name.lower() + "</extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.25)
    figure.update_xaxes(title_text="share of rows, %", range=[0, 100])
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": 11})
    return figure


def null_map(qualities: list[SymbolQuality], some: IntArray) -> go.Figure:
    """Share of rows that are null by symbol and feature; some: positions of the features drawn."""
    kinds = np.stack([quality.features.kinds for quality in qualities])
    share = kinds[:, some, 1:].sum(axis=2) / np.maximum(kinds[:, some].sum(axis=2), 1)
    figure = go.Figure(
        go.Heatmap(
            x=[quality.symbol for quality in qualities],
            y=[FEATURE_NAMES[position] for position in some.tolist()],
            z=share.T,
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=1,
            colorscale=[[0.0, "#f3f5f8"], [1.0, Colour.bad]],
            colorbar={"title": "null", "tickformat": ".0%", "thickness": 12},
            hovertemplate="%{x} %{y}: %{z:.2%} null<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": 11}, showgrid=False)
    figure.update_xaxes(type="category", showgrid=False)
    return figure


def _thinned(ts_us: IntArray, price: FloatArray, spread: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """At most MAX_POINTS points: the last price and the mean spread of each group."""
    size = -(-len(ts_us) // MAX_POINTS)
    if size <= 1:
        return ts_us, price, spread
    first = np.arange(0, len(ts_us), size)
    last = np.minimum(first + size, len(ts_us)) - 1
    return ts_us[last], price[last], np.add.reduceat(spread, first) / (last - first + 1)


def _broken(ts_us: IntArray, *lines: FloatArray) -> tuple[list[datetime], list[float | None], list[float | None]]:
    """The lines with a None where the step between two times is far longer than usual."""
    steps = np.diff(ts_us)
    usual = np.median(steps) if len(steps) else 0
    holes = np.flatnonzero(steps > 3 * usual) + 1
    times = moments(np.insert(ts_us, holes, ts_us[holes] - 1))
    first, second = (_nones(np.insert(line, holes, np.nan)) for line in lines)
    return times, first, second


def _nones(values: FloatArray) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]


def _with_none(values: FloatArray) -> list[list[float | None]]:
    return [_nones(row) for row in values]
