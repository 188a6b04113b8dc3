"""Skill of the judged forecaster over each baseline: pooled, by quantile, by horizon, by symbol."""

import numpy as np
import plotly.graph_objects as go

from midas_ray.evaluate.judge import Scores
from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report.style import (
    COLOURS,
    MARKS,
    NAMES,
    band,
    duration_name,
    enumerated,
    error_bars,
    frame,
    interval_cell,
    interval_text,
    number,
    probability,
    quantile_name,
    shade,
    subject,
    time_unit,
    with_p,
)
from midas_ray.evaluate.verdict import SIGNIFICANT, beaten, capital, strongest
from midas_ray.forecast.scores import reported
from midas_ray.page import Cell, Colour, Interval, Page, Table


def section(page: Page, outcome: Outcome) -> None:
    """Forest plot and table of the pooled skills, then horizons, then what is folded away."""
    judged = NAMES[outcome.forecasts.judged]
    page.section("Skill against the baselines")
    if not outcome.forecasts.baselines:
        page.text(
            f"{capital(subject(outcome.forecasts.judged))} was judged alone: there is no baseline in this backtest."
        )
        return
    page.text(
        f"Skill is 1 minus the pinball loss of {judged} over the baseline's: 0 % is as good as the baseline, above is "
        "better. All forecast the same moments of the same test parts and know nothing later than the moment of the "
        "forecast."
    )
    page.figure(
        forest(outcome),
        "Pooled over all horizons and quantiles, with 95 % intervals of a block bootstrap over moments. Right of 0: "
        f"better than the baseline.{_outside(_pooled_frame(outcome)[1])}",
        height=110 + 46 * len(outcome.forecasts.baselines),
        title=_forest_title(outcome),
    )
    page.table(_pooled_table(outcome))
    page.text(_spa_sentence(outcome))
    page.figure(
        by_horizon(outcome),
        f"All quantiles. The band is the 95 % interval over the strongest baseline, {NAMES[strongest(outcome)]}."
        f"{_outside(_horizon_frame(outcome)[1])}",
        height=380,
        title=_horizon_title(outcome),
    )
    with page.folded("Skill by horizon and by quantile, every figure"):
        page.table(_horizon_table(outcome))
        page.table(_quantile_table(outcome))
    if outcome.scores_by_symbol:
        page.table(_symbol_table(outcome))


def ahead(outcome: Outcome, h: int) -> str:
    """How far ahead horizon index `h` lies, in words."""
    return duration_name(outcome.panel.bucket_ms, h + 1)


def _forest_title(outcome: Outcome) -> str:
    beats = beaten(outcome.scores)
    name = strongest(outcome)
    found = interval_text(outcome.scores.skill[name].pooled)
    return (
        f"{capital(subject(outcome.forecasts.judged))} beats {sum(beats.values())} of {len(beats)} baselines; over the "
        f"strongest, {NAMES[name]}: {found}"
    )


def _horizon_title(outcome: Outcome) -> str:
    over = outcome.scores.skill[strongest(outcome)].by_horizon
    above = int((over.lower > 0).sum())
    best = int(np.nanargmax(over.value)) if np.isfinite(over.value).any() else 0
    return (
        f"The strongest baseline is beaten at {above} of {len(over.value)} horizons; the skill over it is highest "
        f"{ahead(outcome, best)} ahead ({number(100 * float(over.value[best]), 2, unit=' %')})"
    )


def _spa_sentence(outcome: Outcome) -> str:
    who, p = subject(outcome.forecasts.judged), outcome.scores.any_beats_judged
    if p is None or not np.isfinite(p):
        return "The test for superior predictive ability is undefined here: the losses do not differ."
    count = len(outcome.forecasts.baselines)
    shown = "shows that some baseline is better" if p < SIGNIFICANT else "does not show that any baseline is better"
    text = (
        f"Hansen's test for superior predictive ability, which allows for there being {count} of them, {shown} than "
        f"{who} ({with_p(p)})."
    )
    trailing = outcome.scores.any_beats_trailing
    if trailing is None or not np.isfinite(trailing):
        return text
    verb = "shows" if trailing < SIGNIFICANT else "does not show"
    return (
        f"{text} It {verb} that some forecaster is better than {NAMES['trailing']}, the simplest ({with_p(trailing)})."
    )


def forest(outcome: Outcome) -> go.Figure:
    """One line a baseline: the pooled skill over it and its interval."""
    figure = go.Figure()
    for name in reversed(outcome.forecasts.baselines):
        over = outcome.scores.skill[name].pooled
        figure.add_scatter(
            x=[100 * float(over.value)], y=[NAMES[name]], error_x=error_bars(over), mode="markers",
            marker={"color": COLOURS[name], "symbol": MARKS[name], "size": 11}, showlegend=False,
            hovertemplate="%{x:.2f} %<extra>" + NAMES[name] + "</extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": Colour.ink, "width": 1})
    figure.update_xaxes(title_text="skill over the baseline, %", range=_pooled_frame(outcome)[0])
    figure.update_yaxes(type="category")
    return figure


def _pooled_frame(outcome: Outcome) -> tuple[list[float] | None, list[str]]:
    return frame(
        {
            name: (100 * float(over.pooled.lower), 100 * float(over.pooled.upper))
            for name, over in outcome.scores.skill.items()
        }
    )


def _horizon_frame(outcome: Outcome) -> tuple[list[float] | None, list[str]]:
    skill, toughest = outcome.scores.skill, strongest(outcome)
    reach = {}
    for name, over in skill.items():
        parts = (over.by_horizon.lower, over.by_horizon.upper) if name == toughest else (over.by_horizon.value,)
        reach[name] = (100 * min(float(p.min()) for p in parts), 100 * max(float(p.max()) for p in parts))
    return frame(reach)


def _outside(names: list[str]) -> str:
    return (
        f" Too far off to be drawn beside the others, see the table: {enumerated([NAMES[n] for n in names])}."
        if names
        else ""
    )


def by_horizon(outcome: Outcome) -> go.Figure:
    """Skill over each baseline by horizon, with the interval over the strongest."""
    toughest = strongest(outcome)
    over = outcome.scores.skill[toughest].by_horizon
    unit, length = time_unit(outcome.panel.bucket_ms)
    x = length * np.arange(1, len(over.value) + 1, dtype=np.float64)
    figure = go.Figure()
    figure.add_trace(band(x, 100 * over.lower, 100 * over.upper, "95 % interval", shade(COLOURS[toughest])))
    for name in outcome.forecasts.baselines:
        figure.add_scatter(
            x=x, y=100 * outcome.scores.skill[name].by_horizon.value, mode="lines+markers",
            name=f"over {NAMES[name]}",
            line={"color": COLOURS[name], "width": 1.8}, marker={"symbol": MARKS[name], "size": 8},
            hovertemplate="%{y:.2f} %<extra>over " + NAMES[name] + "</extra>",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": Colour.ink, "width": 1})
    figure.update_xaxes(title_text=f"{unit} ahead")
    figure.update_yaxes(title_text="skill over the baseline, %", range=_horizon_frame(outcome)[0])
    return figure


def _pooled_table(outcome: Outcome) -> Table:
    """All forecasters, all horizons: losses, skill over all quantiles and each reported one, and the test."""
    scores, taus = outcome.scores, outcome.forecasts.quantiles_Q
    at = reported(taus)
    rows: list[tuple[Cell, ...]] = []
    for name in (outcome.forecasts.judged, *outcome.forecasts.baselines):
        over, own = scores.skill.get(name), scores.delivered(name)
        skills: list[Cell] = [None] * (1 + len(at))
        p: Cell = None
        if over is not None:
            skills = [interval_cell(over.pooled), *(interval_cell(over.by_quantile, k) for k in at)]
            p = Interval(probability(scores.diebold_mariano[name].p_value), "")
        rows.append((NAMES[name], float(own.mean_pinball.value), float(own.weighted_interval_score.value), *skills, p))
    return Table(
        (
            "forecaster", "pinball loss, bps", "WIS, bps", "skill over it, %",
            *(f"at {quantile_name(taus[k])}, %" for k in at), "Diebold-Mariano p",
        ),
        tuple(rows),
        caption="All horizons, with 95 % intervals",
        digits=3,
        strong=frozenset({0}),
        note=f"Losses are as delivered; WIS is the weighted interval score. Skill over it: that of "
        f"{NAMES[outcome.forecasts.judged]}. Diebold-Mariano: how likely so large a difference would be if both were "
        "equally good (HAC variance).",
    )  # fmt: skip


def _horizon_table(outcome: Outcome) -> Table:
    skill = outcome.scores.skill
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (ahead(outcome, h), *(interval_cell(over.by_horizon, h) for over in skill.values()))
        for h in range(outcome.forecasts.actual_nH.shape[1])
    )
    return Table(
        ("ahead", *(f"over {NAMES[name]}, %" for name in skill)),
        rows,
        caption="Skill by horizon, all quantiles, with 95 % intervals",
    )


def _quantile_table(outcome: Outcome) -> Table:
    skill = outcome.scores.skill
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (quantile_name(tau), *(interval_cell(over.by_quantile, k) for over in skill.values()))
        for k, tau in enumerate(outcome.forecasts.quantiles_Q)
    )
    return Table(
        ("quantile", *(f"over {NAMES[name]}, %" for name in skill)),
        rows,
        caption="Skill by quantile, all horizons, with 95 % intervals",
    )


def _symbol_table(outcome: Outcome) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (symbol, scores.n_origins, *skill_cells(scores, outcome.forecasts.baselines))
        for symbol, scores in outcome.scores_by_symbol.items()
    )
    return Table(
        ("symbol", "windows", *(f"over {NAMES[name]}, %" for name in outcome.forecasts.baselines)),
        rows,
        caption="Skill by symbol, all horizons and quantiles, with 95 % intervals",
    )


def skill_cells(scores: Scores | None, baselines: tuple[str, ...]) -> list[Cell]:
    """The pooled skill over each baseline; dashes where there are no scores."""
    return [None if scores is None else interval_cell(scores.skill[name].pooled) for name in baselines]
