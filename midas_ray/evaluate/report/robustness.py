"""Does the result hold: from fold to fold, from one training run to another, from path to path."""

import numpy as np
import plotly.graph_objects as go

from midas_ray.evaluate.outcome import FoldRecord, Outcome
from midas_ray.evaluate.report.skill import skill_cells
from midas_ray.evaluate.report.style import COLOURS, MARKS, NAMES, error_bars, number, time_text
from midas_ray.evaluate.significance import Estimates
from midas_ray.evaluate.verdict import capital, strongest
from midas_ray.page import Cell, Colour, Page, Table


def section(page: Page, outcome: Outcome) -> None:
    """Skill by fold and seed, and of the paths of a combinatorial cross-validation."""
    if not outcome.forecasts.baselines or not outcome.scores_by_fold:
        return
    page.section("Does it hold: folds and seeds")
    page.figure(
        by_fold(outcome),
        f"Skill over {NAMES[strongest(outcome)]}, the strongest baseline, all horizons and quantiles, with 95 % "
        "intervals. "
        + (
            "Open marks: single seeds, calibrated like their mean, which is what is judged."
            if _seeds(outcome) > 1
            else ""
        ),
        height=320,
        title=" ".join([_fold_title(outcome), _seed_title(outcome)]).strip(),
    )
    page.table(_fold_table(outcome))
    if outcome.scores_by_path:
        page.text(_path_sentence(outcome))


def _seeds(outcome: Outcome) -> int:
    return max((len(fold.seed_loss_bps) for fold in outcome.folds), default=0)


def _seed_skills(outcome: Outcome, fold: FoldRecord) -> list[float]:
    """Skill of each seed alone over the strongest baseline, in one fold that has scores."""
    reference = float(outcome.scores_by_fold[fold.number].delivered(strongest(outcome)).mean_pinball.value)
    return [1 - loss / reference for loss in fold.seed_loss_bps.values()]


def _fold_title(outcome: Outcome) -> str:
    name = strongest(outcome)
    values = [scores.skill[name].pooled for scores in outcome.scores_by_fold.values()]
    above = sum(value.excludes_zero_above() for value in values)
    positive = sum(float(value.value) > 0 for value in values)
    if len(values) == 1:
        return f"In the only fold the skill over {NAMES[name]} is {number(100 * float(values[0].value), 2, unit=' %')}."
    return (
        f"The skill over {NAMES[name]} is positive in {positive} of {len(values)} folds, with an interval above zero "
        "in "
        f"{above}."
    )


def _seed_title(outcome: Outcome) -> str:
    if _seeds(outcome) < 2:
        return ""
    folds = [fold for fold in outcome.folds if fold.number in outcome.scores_by_fold]
    spread = float(np.mean([np.ptp(_seed_skills(outcome, fold)) for fold in folds]))
    return f"Within a fold the {_seeds(outcome)} seeds lie {number(100 * spread, 2, '')} points apart on average."


def by_fold(outcome: Outcome) -> go.Figure:
    """Skill over the strongest baseline in each fold: together with its interval, and each seed alone."""
    name = strongest(outcome)
    folds = [fold for fold in outcome.folds if fold.number in outcome.scores_by_fold]
    found = [outcome.scores_by_fold[fold.number].skill[name].pooled for fold in folds]
    joined = Estimates(
        *(np.array([float(getattr(one, part)) for one in found]) for part in ("value", "lower", "upper"))
    )
    figure = go.Figure()
    figure.add_scatter(
        x=np.arange(len(folds)), y=100 * joined.value, error_y=error_bars(joined), mode="markers",
        name="as judged" if _seeds(outcome) < 2 else "seeds together",
        marker={"color": COLOURS[name], "symbol": MARKS[name], "size": 11}, hovertemplate="%{y:.2f} %<extra></extra>",
    )  # fmt: skip
    if _seeds(outcome) > 1:
        skills = [_seed_skills(outcome, fold) for fold in folds]
        figure.add_scatter(
            x=np.concatenate([k + np.linspace(0.08, 0.2, len(own)) for k, own in enumerate(skills)]),
            y=100 * np.concatenate(skills), mode="markers", name="single seeds",
            marker={"color": COLOURS[name], "symbol": f"{MARKS[name]}-open", "size": 8},
            hovertemplate="%{y:.2f} %<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": Colour.ink, "width": 1})
    figure.update_xaxes(
        tickvals=np.arange(len(folds)), ticktext=[f"fold {fold.number}" for fold in folds], zeroline=False,
        range=[-0.5, len(folds) - 0.5],
    )  # fmt: skip
    figure.update_yaxes(title_text=f"skill over {NAMES[name]}, %")
    return figure


def _fold_table(outcome: Outcome) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            fold.number,
            f"{time_text(fold.test.first_us)} to {time_text(fold.test.last_us)}",
            fold.test.windows,
            *skill_cells(outcome.scores_by_fold.get(fold.number), outcome.forecasts.baselines),
        )
        for fold in outcome.folds
    )
    return Table(
        ("fold", "test part, UTC", "windows", *(f"over {NAMES[name]}, %" for name in outcome.forecasts.baselines)),
        rows,
        caption="Skill by fold, with 95 % intervals",
        note="A dash: too few windows for an interval." if len(outcome.scores_by_fold) < len(outcome.folds) else "",
    )


def _path_sentence(outcome: Outcome) -> str:
    name = strongest(outcome)
    values = [100 * float(scores.skill[name].pooled.value) for scores in outcome.scores_by_path]
    return capital(
        f"combinatorial purged cross-validation gives {len(values)} paths through the data; over them the skill over "
        f"{NAMES[name]} runs from {number(min(values), 2)} to {number(max(values), 2, unit=' %')}. All other figures "
        "are of "
        "the first path."
    )
