"""Plotly figures of a backtest. One colour for one thing; every axis says its unit."""

from datetime import UTC, datetime

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from midas_ray.evaluate.judge import EWMA, FORECASTERS, MODEL, TRAILING
from midas_ray.evaluate.outcome import FoldRecord, Outcome, Part
from midas_ray.evaluate.significance import Estimates
from midas_ray.evaluate.stretch import Stretch
from midas_ray.evaluate.trading import Equity
from midas_ray.page import Colour

Float = NDArray[np.float64]

NAMES = {MODEL: "model", TRAILING: "trailing quantiles (a)", EWMA: "EWMA volatility (b)"}
COLOURS = {MODEL: Colour.model, TRAILING: Colour.baseline_a, EWMA: Colour.baseline_b}
SYMBOLS = {MODEL: "circle", TRAILING: "square", EWMA: "diamond"}
QUANTILE_COLOURS = ("#2a8c82", "#5f6b7a", "#b0436f", "#a07a1c", "#5b4fa3")


def moment(us: int) -> datetime:
    """UTC time of day without a zone, as plotly draws it."""
    return datetime.fromtimestamp(us / 1e6, tz=UTC).replace(tzinfo=None)


def _moments(us: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return us.astype("datetime64[us]")


def quantile_name(tau: float) -> str:
    """`P10` for 0.1."""
    return f"P{100 * tau:g}"


def fan(outcome: Outcome, stretch: Stretch) -> go.Figure:
    """Actual price, and forecasts from several origins as bands around their medians."""
    taus = outcome.forecasts.quantiles_Q
    low, high = quantile_name(taus[0]), quantile_name(taus[-1])
    bucket_us = outcome.panel.bucket_us
    band_x: list[datetime | None] = []
    band_y: list[float | None] = []
    median_x: list[datetime | None] = []
    median_y: list[float | None] = []
    for origin_us, quantiles_HQ in zip(stretch.origin_us, stretch.price_oHQ, strict=True):
        ahead = [moment(int(origin_us) + h * bucket_us) for h in range(len(quantiles_HQ))]
        band_x += [*ahead, *reversed(ahead), None]
        band_y += [*quantiles_HQ[:, 0].tolist(), *reversed(quantiles_HQ[:, -1].tolist()), None]
        median_x += [*ahead, None]
        median_y += [*quantiles_HQ[:, stretch.middle].tolist(), None]
    figure = go.Figure()
    figure.add_scatter(
        x=band_x, y=band_y, fill="toself", fillcolor=Colour.model_band, line={"width": 0}, mode="lines",
        name=f"{low} to {high}", hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=median_x, y=median_y, mode="lines", line={"color": Colour.model, "width": 2}, name="P50, model"
    )
    figure.add_scatter(
        x=_moments(stretch.ts_us), y=stretch.price, mode="lines", line={"color": Colour.ink, "width": 1.3},
        name=f"actual ({outcome.panel.price_source})",
    )  # fmt: skip
    figure.add_scatter(
        x=_moments(stretch.origin_us), y=stretch.price_oHQ[:, 0, 0], mode="markers",
        marker={"color": "white", "size": 6, "line": {"color": Colour.model, "width": 1.5}}, name="origin",
    )  # fmt: skip
    figure.update_xaxes(title_text="time (UTC)")
    figure.update_yaxes(title_text="price, quote currency", exponentformat="none", separatethousands=True)
    return figure


def _error(estimates: Estimates, scale: float = 100) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": scale * (estimates.upper - estimates.value),
        "arrayminus": scale * (estimates.value - estimates.lower),
        "thickness": 1.2,
        "width": 3,
    }


def calibration(outcome: Outcome) -> go.Figure:
    """Nominal against observed share at or below each quantile; on the diagonal where calibrated."""
    taus = 100 * outcome.forecasts.quantiles_Q
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"color": Colour.reference, "dash": "dash", "width": 1},
        name="calibrated", hoverinfo="skip",
    )  # fmt: skip
    for name in (TRAILING, EWMA, MODEL):
        below = outcome.scores.calibration[name].below
        open_suffix, size = ("", 8) if name == MODEL else ("-open", 12)
        figure.add_scatter(
            x=taus, y=100 * below.value, error_y=_error(below) if name == MODEL else None, mode="markers",
            marker={"color": COLOURS[name], "symbol": SYMBOLS[name] + open_suffix, "size": size}, name=NAMES[name],
            hovertemplate="%{y:.1f} %<extra>" + NAMES[name] + "</extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="nominal quantile, %", range=[0, 100], tickvals=taus)
    figure.update_yaxes(title_text="outcomes at or below it, %", range=[0, 100])
    return figure


def _horizons(outcome: Outcome) -> Float:
    """Minutes ahead of each horizon."""
    return np.arange(1, outcome.conditions.output_length + 1) * outcome.panel.bucket_ms / 60_000


def skill(outcome: Outcome, baseline: str) -> go.Figure:
    """Pinball skill over one baseline by horizon: all quantiles with their interval, and each quantile."""
    over = outcome.scores.skill[baseline]
    minutes = _horizons(outcome)
    figure = go.Figure()
    figure.add_scatter(
        x=np.concatenate([minutes, minutes[::-1]]),
        y=100 * np.concatenate([over.by_horizon.upper, over.by_horizon.lower[::-1]]),
        fill="toself", fillcolor=Colour.model_band, line={"width": 0}, mode="lines", name="95 % interval",
        hoverinfo="skip",
    )  # fmt: skip
    for k, tau in enumerate(outcome.forecasts.quantiles_Q):
        colour = QUANTILE_COLOURS[k % len(QUANTILE_COLOURS)]
        figure.add_scatter(
            x=minutes, y=100 * over.by_cell.value[:, k], mode="lines", name=quantile_name(tau),
            line={"color": colour, "width": 1.5, "dash": "dot"},
        )  # fmt: skip
    figure.add_scatter(
        x=minutes, y=100 * over.by_horizon.value, mode="lines+markers", line={"color": Colour.model, "width": 2.5},
        name="all quantiles",
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": Colour.ink, "width": 1})
    figure.update_xaxes(title_text="minutes ahead")
    figure.update_yaxes(title_text=f"skill over {NAMES[baseline]}, %")
    return figure


def coverage(outcome: Outcome) -> go.Figure:
    """Share of outcomes inside the outer quantiles, by horizon."""
    taus = outcome.forecasts.quantiles_Q
    minutes = _horizons(outcome)
    step = minutes[0]
    figure = go.Figure()
    for name in FORECASTERS:
        found = outcome.scores.calibration[name].coverage_by_horizon
        figure.add_scatter(
            x=minutes, y=100 * found.value, error_y=_error(found) if name == MODEL else None, mode="lines+markers",
            name=NAMES[name], line={"color": COLOURS[name], "width": 1.5}, marker={"symbol": SYMBOLS[name], "size": 7},
            hovertemplate="%{y:.1f} %<extra>" + NAMES[name] + "</extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=[minutes[0] - step / 2, minutes[-1] + step / 2], y=[100 * (taus[-1] - taus[0])] * 2, mode="lines",
        line={"color": Colour.ink, "dash": "dash", "width": 1}, name="nominal", hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(title_text="minutes ahead")
    figure.update_yaxes(title_text=f"outcomes from {quantile_name(taus[0])} to {quantile_name(taus[-1])}, %")
    return figure


def equity(curve: Equity, most_points: int = 4000) -> go.Figure:
    """Strategy after and before costs beside buy-and-hold; thinned evenly beyond `most_points` moments."""
    keep = np.unique(np.linspace(0, len(curve.ts_us) - 1, most_points).astype(np.int64))
    x = _moments(curve.ts_us[keep])
    figure = go.Figure()
    for values, name, line in (
        (curve.hold_pct, "buy and hold, no costs", {"color": Colour.reference, "width": 1.5}),
        (curve.gross_pct, "strategy before costs", {"color": Colour.model, "width": 1.5, "dash": "dot"}),
        (curve.net_pct, "strategy after costs", {"color": Colour.model, "width": 2.2}),
    ):
        figure.add_scatter(x=x, y=values[keep], mode="lines", name=name, line=line)
    figure.add_hline(y=0, line={"color": Colour.ink, "width": 1})
    figure.update_xaxes(title_text="time (UTC)")
    figure.update_yaxes(title_text="return on the stake, %")
    return figure


def timeline(folds: list[FoldRecord]) -> go.Figure:
    """Which span each fold was trained, validated and tested on."""
    parts: tuple[tuple[str, str, list[Part | None]], ...] = (
        ("training", Colour.reference, [fold.train for fold in folds]),
        ("validation", Colour.baseline_a, [fold.validation for fold in folds]),
        ("test", Colour.model, [fold.test for fold in folds]),
    )
    figure = go.Figure()
    for name, colour, spans in parts:
        x: list[datetime | None] = []
        y: list[str | None] = []
        for fold, span in zip(folds, spans, strict=True):
            if span is not None:
                x += [moment(span.first_us), moment(span.last_us), None]
                y += [f"fold {fold.number}"] * 2 + [None]
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 16}, name=name)
    figure.update_xaxes(title_text="time of the origins (UTC)")
    figure.update_yaxes(type="category", range=[len(folds) - 0.5, -0.5])
    return figure
