"""Forecasts and what came: some in a row, and the whole test period."""

from datetime import datetime

import numpy as np
import plotly.graph_objects as go

from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report.style import duration_name, moment, moments, number, plain, quantile_name, shade
from midas_ray.evaluate.stretch import Overview, Stretch, overview, representative
from midas_ray.forecast.scores import reported
from midas_ray.page import Colour, Page

BAND_ALPHA = (0.10, 0.16, 0.24)
"""Opacity of the bands from the outermost; each lies on the one before."""


def section(page: Page, outcome: Outcome) -> None:
    """Two charts: a stretch of forecasts, and the width of the band over the test period."""
    page.section("Forecasts and what came")
    stretch, whole = representative(outcome.panel, outcome.forecasts), overview(outcome.panel, outcome.forecasts)
    page.figure(
        fan(outcome, stretch),
        f"{stretch.symbol}: {len(stretch.origin_us)} forecasts in a row, each from the end of the one before. The "
        "stretch is "
        "the one of median price range among all such stretches, not chosen for how well the forecasts did.",
        height=430,
        title=_stretch_title(outcome, stretch),
    )
    ahead = duration_name(outcome.panel.bucket_ms, outcome.forecasts.actual_nH.shape[1])
    page.figure(
        width(whole),
        f"{whole.symbol}, {ahead} ahead, the whole test period in spans of {_duration(whole.span_us)}: the mean P10 "
        "to P90 band "
        "that was forecast, and the tenth and ninetieth percentile of what came.",
        height=360,
        title=_width_title(whole),
    )


def _duration(us: int) -> str:
    hours = us / 3.6e9
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def _stretch_title(outcome: Outcome, stretch: Stretch) -> str:
    low, _, high = reported(outcome.forecasts.quantiles_Q)
    hold = stretch.price_oHQ.shape[1] - 1
    ahead = stretch.price[1:].reshape(-1, hold)
    quantiles = stretch.price_oHQ[:, 1:]
    inside = int(((ahead >= quantiles[..., low]) & (ahead <= quantiles[..., high])).sum())
    return (
        f"In this stretch {inside} of {ahead.size} prices fell between P10 and P90 "
        f"({100 * inside / ahead.size:.0f} %, 80 % is meant)"
    )


def _width_title(whole: Overview) -> str:
    correlation = whole.width_correlation
    if not np.isfinite(correlation):
        known = int(np.isfinite(whole.actual_s2).all(axis=1).sum())
        return f"{known} spans of the test period do not tell whether the band widens when the market moves more"
    if correlation >= 0.3:
        verb = "The band widens when the market moves more"
    elif correlation > -0.3:
        verb = "The width of the band hardly follows the market"
    else:
        verb = "The band narrows when the market moves more"
    return f"{verb}: rank correlation {number(correlation, 2)} between the widths forecast and realised"


def fan(outcome: Outcome, stretch: Stretch) -> go.Figure:
    """Actual price, and forecasts from several origins as nested bands around their medians."""
    taus = outcome.forecasts.quantiles_Q
    bucket_us = outcome.panel.bucket_us
    aheads = [
        [moment(int(origin_us) + h * bucket_us) for h in range(stretch.price_oHQ.shape[1])]
        for origin_us in stretch.origin_us
    ]
    figure = go.Figure()
    for k in range(len(taus) // 2):
        x: list[datetime | None] = []
        y: list[float | None] = []
        for ahead, quantiles_HQ in zip(aheads, stretch.price_oHQ, strict=True):
            x += [*ahead, *reversed(ahead), None]
            y += [*quantiles_HQ[:, k].tolist(), *reversed(quantiles_HQ[:, -1 - k].tolist()), None]
        figure.add_scatter(
            x=x, y=y, fill="toself", fillcolor=shade(Colour.model, BAND_ALPHA[min(k, len(BAND_ALPHA) - 1)]),
            line={"width": 0}, mode="lines", name=f"{quantile_name(taus[k])} to {quantile_name(taus[-1 - k])}",
            hoverinfo="skip",
        )  # fmt: skip
    middle = reported(taus)[1]
    figure.add_scatter(
        x=[t for ahead in aheads for t in (*ahead, None)],
        y=[v for quantiles_HQ in stretch.price_oHQ for v in (*quantiles_HQ[:, middle].tolist(), None)],
        mode="lines", line={"color": Colour.model, "width": 2}, name="P50",
    )  # fmt: skip
    figure.add_scatter(
        x=moments(stretch.ts_us), y=stretch.price, mode="lines", line={"color": Colour.ink, "width": 1.4},
        name=f"actual {plain(outcome.panel.price_source)}",
    )  # fmt: skip
    figure.add_scatter(
        x=moments(stretch.origin_us), y=stretch.price_oHQ[:, 0, 0], mode="markers", name="origin",
        marker={"color": "white", "size": 6, "line": {"color": Colour.model, "width": 1.5}},
    )  # fmt: skip
    figure.update_xaxes(title_text="time (UTC)")
    figure.update_yaxes(title_text="price, quote currency", exponentformat="none", separatethousands=True)
    return figure


def width(whole: Overview) -> go.Figure:
    """Mean forecast band and the percentiles of the outcomes, by span of the test period."""
    x = moments(whole.ts_us)
    figure = go.Figure()
    for k, fill in ((0, None), (1, "tonexty")):
        figure.add_scatter(
            x=x, y=whole.forecast_s2[:, k], mode="lines", line={"color": Colour.model, "width": 1}, fill=fill,
            fillcolor=Colour.model_band, connectgaps=False, name="forecast, P10 to P90", showlegend=k == 1,
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=whole.actual_s2[:, k], mode="lines", line={"color": Colour.ink, "width": 1.4}, connectgaps=False,
            name="came, 10 % to 90 %", showlegend=k == 1,
        )  # fmt: skip
    figure.data = tuple(figure.data[k] for k in (0, 2, 1, 3))  # a fill reaches to the line before it
    figure.update_xaxes(title_text="time (UTC)")
    figure.update_yaxes(title_text="return, bps")
    return figure
