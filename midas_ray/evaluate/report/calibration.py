"""Calibration: do the quantiles hold what they promise, raw and after the conformal correction, and where not."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from midas_ray.evaluate.judge import ADAPTIVE, CALIBRATED, FORMS, RAW, REGIMES, delivered_form
from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report.skill import ahead
from midas_ray.evaluate.report.style import (
    NAMES,
    Float,
    error_bars,
    interval_cell,
    interval_text,
    time_unit,
    typeset,
)
from midas_ray.evaluate.significance import Estimates
from midas_ray.forecast.scores import reported
from midas_ray.page import Cell, Colour, Page, Table

NOMINAL = 0.8
"""Share meant to lie between P10 and P90."""
FORM_MARKS = {RAW: "circle-open", CALIBRATED: "circle", ADAPTIVE: "triangle-up-open"}


def section(page: Page, outcome: Outcome) -> None:
    """Reliability in every form, then coverage by regime, hour and horizon as delivered."""
    judged = outcome.forecasts.judged
    forms = {form: outcome.scores.variants[judged, form] for form in FORMS if (judged, form) in outcome.scores.variants}
    below = {form: scores.calibration.below for form, scores in forms.items()}
    taus = outcome.forecasts.quantiles_Q
    page.section("Calibration")
    page.text(
        "A calibrated forecast has a tenth of the outcomes below its P10 and four fifths between P10 and P90. A price "
        "that often stands still puts outcomes exactly at a median of zero, so that the share at or below P50 exceeds "
        "50 % for any honest forecast."
    )
    page.figure_row(
        [
            (reliability(taus, below), "Share of outcomes at or below each quantile, all horizons.", _title(outcome)),
            (deviation(taus, below), "The same, as the distance from the diagonal.", _correction_title(taus, below)),
        ]
    )
    page.note(_forms_note(judged, forms))
    page.table(_coverage_table(outcome))
    _groups(page, outcome)


def _groups(page: Page, outcome: Outcome) -> None:
    scores = outcome.scores
    page.figure(
        coverage(REGIMES, scores.coverage_by_regime, "volatility when the forecast was made"),
        "Share of outcomes between P10 and P90 as delivered, all horizons, with 95 % intervals. The regimes are "
        "thirds of "
        "each fold's training part by the HAR volatility at the origin.",
        height=280,
        title=_worst_title(scores.coverage_by_regime, [f"in {name} markets" for name in REGIMES], "regimes"),
    )
    hours = [f"{hour:02d}" for hour in range(len(scores.coverage_by_hour.value))]
    page.figure(
        coverage(hours, scores.coverage_by_hour, "hour in which the forecast was made, UTC"),
        "Share of outcomes between P10 and P90 as delivered, all horizons, with 95 % intervals.",
        height=280,
        title=_worst_title(scores.coverage_by_hour, [f"at {hour}:00 UTC" for hour in hours], "hours"),
    )
    unit, length = time_unit(outcome.panel.bucket_ms)
    found = scores.delivered(outcome.forecasts.judged).calibration.coverage_by_horizon
    page.figure(
        coverage([f"{length * (h + 1):g}" for h in range(len(found.value))], found, f"{unit} ahead"),
        "Share of outcomes between P10 and P90 as delivered, with 95 % intervals.",
        height=280,
        title=_worst_title(found, [f"{ahead(outcome, h)} ahead" for h in range(len(found.value))], "horizons"),
    )


def _title(outcome: Outcome) -> str:
    found = outcome.scores.delivered(outcome.forecasts.judged).calibration.coverage
    return f"Between P10 and P90 fell {interval_text(found, digits=1, sign='')}; 80 % is meant"


def _correction_title(taus: Float, below: Mapping[str, Estimates]) -> str:
    off = {form: 100 * float(np.abs(found.value - taus).mean()) for form, found in below.items()}
    opening = f"The raw quantiles are off by {off[RAW]:.1f} points on average"
    if CALIBRATED not in off:
        return f"{opening}; there is no conformal correction"
    return f"{opening}, the calibrated ones by {off[CALIBRATED]:.1f}"


def _forms_note(judged: str, forms: Mapping[str, object]) -> str:
    told = {
        RAW: "raw: as fitted",
        CALIBRATED: "calibrated: moved by offsets from the fold's calibration part (conformalised quantile regression)",
        ADAPTIVE: "adaptive: moved by levels that follow the outcomes as they become known",
    }
    return (
        f"{'; '.join(told[form] for form in forms)}. Delivered, and judged everywhere else: {delivered_form(judged)}."
    )


def _worst_title(found: Estimates, names: Sequence[str], groups: str) -> str:
    """Which group's coverage lies furthest from 80 %, and how many intervals miss it."""
    known = np.flatnonzero(np.isfinite(found.value))
    worst = int(known[np.argmax(np.abs(found.value[known] - NOMINAL))])
    missed = int(((found.lower[known] > NOMINAL) | (found.upper[known] < NOMINAL)).sum())
    return typeset(
        f"Coverage is furthest from 80 % {names[worst]}: {interval_text(found, worst, digits=1, sign='')}; "
        f"{missed} of {len(known)} {groups} miss 80 % beyond their interval"
    )


def reliability(taus: Float, below: Mapping[str, Estimates]) -> go.Figure:
    """Observed against nominal share at or below each quantile; on the diagonal where calibrated."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"color": Colour.ink, "dash": "dash", "width": 1},
        name="as promised", hoverinfo="skip",
    )  # fmt: skip
    _draw_forms(figure, 100 * taus, below, np.zeros(len(taus)), 0.0)
    figure.update_xaxes(title_text="nominal quantile, %", zeroline=False, range=[-2, 102])
    figure.update_yaxes(title_text="outcomes at or below it, %", zeroline=False, range=[-2, 102])
    return figure


def deviation(taus: Float, below: Mapping[str, Estimates]) -> go.Figure:
    """How far the observed share lies from the nominal one, in percentage points."""
    figure = go.Figure()
    _draw_forms(figure, 100 * taus, below, 100 * taus, 1.3)
    figure.add_hline(y=0, line={"color": Colour.ink, "width": 1, "dash": "dash"})
    figure.update_xaxes(title_text="nominal quantile, %", zeroline=False, range=[-2, 102])
    figure.update_yaxes(title_text="observed minus nominal, points")
    return figure


def _draw_forms(figure: go.Figure, x: Float, below: Mapping[str, Estimates], less: Float, apart: float) -> None:
    for side, (form, found) in zip((-1, 0, 1), below.items(), strict=False):
        figure.add_scatter(
            x=x + side * apart, y=100 * found.value - less, error_y=error_bars(found), mode="markers", name=form,
            marker={"color": Colour.model, "symbol": FORM_MARKS[form], "size": 8}, showlegend=True,
            hovertemplate="%{y:.1f}<extra>" + form + "</extra>",
        )  # fmt: skip


def coverage(labels: Sequence[str], found: Estimates, axis: str) -> go.Figure:
    """Share of outcomes between P10 and P90 in each group, with intervals, beside the nominal share."""
    figure = go.Figure()
    at = np.arange(len(labels))
    figure.add_scatter(
        x=at, y=100 * found.value, error_y=error_bars(found), mode="markers", showlegend=False,
        marker={"color": Colour.model, "size": 8}, text=list(labels),
        hovertemplate="%{text}: %{y:.1f} %<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=100 * NOMINAL, line={"color": Colour.ink, "width": 1, "dash": "dash"})
    step = max(1, round(len(labels) / 12))
    figure.update_xaxes(
        title_text=axis, zeroline=False, tickvals=at[::step], ticktext=list(labels)[::step],
        range=[-0.5, len(labels) - 0.5],
    )  # fmt: skip
    figure.update_yaxes(title_text="between P10 and P90, %")
    return figure


def _coverage_table(outcome: Outcome) -> Table:
    """Coverage of every forecaster in every form, and the width of the band as delivered."""
    variants = outcome.scores.variants
    low, _, high = reported(outcome.forecasts.quantiles_Q)
    rows: list[tuple[Cell, ...]] = []
    for name in (outcome.forecasts.judged, *outcome.forecasts.baselines):
        own = outcome.scores.delivered(name)
        shares: list[Cell] = [
            interval_cell(variants[name, form].calibration.coverage, digits=1, sign="")
            if (name, form) in variants
            else None
            for form in FORMS
        ]
        tails = [interval_cell(own.calibration.below, k, digits=1, sign="") for k in (low, high)]
        rows.append((NAMES[name], *shares, delivered_form(name), *tails, own.width_bps))
    return Table(
        (
            "forecaster", "P10 to P90 raw, %", "calibrated, %", "adaptive, %", "delivered", "at or below P10, %",
            "at or below P90, %", "P10 to P90 wide, bps",
        ),
        tuple(rows),
        caption="Coverage, all horizons, with 95 % intervals (80, 10 and 90 % are meant)",
        digits=1,
        strong=frozenset({0}),
    )  # fmt: skip
