"""How the backtest was done: folds in time, the final period, settings, versions, the command that does it again."""

import platform
from datetime import datetime
from importlib.metadata import version

import plotly.graph_objects as go

from midas_ray.evaluate.outcome import FinalState, FoldRecord, Outcome, Part
from midas_ray.evaluate.report.style import NAMES, moment, time_text, typeset
from midas_ray.evaluate.significance import RESAMPLES
from midas_ray.page import Cell, Colour, Page, Table
from midas_ray.settings import MidasSettings, TradingSettings

LIBRARIES = (
    "torch",
    "pytorch-forecasting",
    "lightgbm",
    "scoringrules",
    "statsmodels",
    "arch",
    "skfolio",
    "numpy",
    "ray",
)
PARTS = (
    ("training", "train", Colour.reference),
    ("validation", "validation", Colour.part),
    ("calibration", "calibration", Colour.part_of_model),
    ("test", "test", Colour.model),
)


def final_section(page: Page, outcome: Outcome) -> None:
    """Whether the final period is sealed, or what opened it."""
    page.section("The final period")
    page.text(typeset(final_sentence(outcome.final)))


def final_sentence(final: FinalState) -> str:
    """The state of the final period in words."""
    if final.period is None:
        return "No final period was kept back (--final-share 0): every stretch of the data may have been looked at."
    span = f"{time_text(final.period.first_us)} to {time_text(final.period.end_us)} UTC"
    earlier = final.earlier
    if final.opened_now and earlier is None:
        return (
            f"This is the judgement of the final period, {span}, opened by this run for the first time. It was "
            "trained on "
            "everything before it. The opening is on record: it can be done once."
        )
    if earlier is None:
        return (
            f"The final period, {span}, is sealed: nothing here was trained, tuned or judged on it. --open-final "
            "judges it, "
            "once, and that is recorded."
        )
    told = f"opened on {earlier.opened_at} by `{earlier.command}`"
    if final.opened_now:
        return (
            f"This run judges the final period, {span}, again: it had been {told}. What was chosen after that "
            "opening may "
            "have been chosen because of it, so this is no independent judgement."
        )
    return (
        f"The final period, {span}, was left out here, but it had been {told}. A later result on it is no independent "
        "judgement."
    )


def folds_section(page: Page, outcome: Outcome) -> None:
    """What each fold was fitted and judged on."""
    page.section("How it was judged")
    page.facts([(name, typeset(value)) for name, value in _facts(outcome)])
    if outcome.conditions.model is None:
        page.figure(
            timeline(outcome.folds, outcome.final),
            "Moments of the forecasts in each part. Everything fitted, scalers, thresholds and the conformal "
            "correction too, "
            "lies inside its fold.",
            height=150 + 40 * min(len(outcome.folds), MOST_FOLDS),
            title=_timeline_title(outcome),
        )
    page.table(_fold_table(outcome))


MOST_FOLDS = 20
"""Folds drawn in the timeline; the table has all."""


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    panel, conditions, scores = outcome.panel, outcome.conditions, outcome.scores
    combinatorial = conditions.cross_validation == "combinatorial"
    embargo = (
        "After each test part an embargo of the encoder and the longest lookback keeps training away too."
        if combinatorial
        else "No embargo is needed: training always precedes the test."
    )
    facts = [
        ("Procedure", _procedure(outcome)),
        (
            "Purge",
            f"{conditions.output_length} buckets, the longest horizon, between the parts of a fold: no outcome that "
            "was used "
            f"in fitting lies in the time that is judged. {embargo}",
        ),
        (
            "Windows",
            f"{scores.n_origins:,} judged at {scores.n_moments:,} moments; {conditions.input_length} buckets in, "
            f"{conditions.output_length} ahead, {panel.bucket_ms / 1000:g} s a bucket",
        ),
        (
            "Intervals",
            f"95 %, circular block bootstrap over moments, {RESAMPLES:,} resamples in blocks of {scores.block_length} "
            "(horizons overlap, symbols move together). They cover the luck of the period, not that of a training run: "
            "for that there are the seeds.",
        ),
    ]
    if conditions.without_baseline:
        facts.append(
            ("Not judged", f"{conditions.without_baseline:,} windows for which some forecaster knew too little")
        )
    return facts


def _procedure(outcome: Outcome) -> str:
    conditions = outcome.conditions
    folds = f"{len(outcome.folds)} fold{'s' if len(outcome.folds) > 1 else ''}"
    if conditions.model is not None:
        return (
            f"the model {conditions.model} on windows after its training end, "
            f"{time_text(conditions.training_end_us or 0)} "
            f"UTC; {conditions.refused:,} earlier windows were refused"
        )
    seeds = f", the network from {conditions.seeds} seeds" if conditions.seeds > 1 else ""
    return f"{conditions.cross_validation}, {folds}, every forecaster fitted anew in each{seeds}"


def _timeline_title(outcome: Outcome) -> str:
    first, last = (edge(edge(fold.test.first_us, fold.test.last_us) for fold in outcome.folds) for edge in (min, max))
    span = f"judged from {time_text(first)} to {time_text(last)} UTC"
    if outcome.conditions.cross_validation == "combinatorial":
        return f"Every stretch is tested by models that were fitted on others; {span}"
    return f"Every test part lies after all that its model was fitted on; {span}"


def timeline(folds: list[FoldRecord], final: FinalState) -> go.Figure:
    """Which span each fold was fitted and tested on, and the final period."""
    figure = go.Figure()
    shown = folds[:MOST_FOLDS]
    for name, attribute, colour in PARTS:
        x: list[datetime | None] = []
        y: list[str | None] = []
        for fold in shown:
            span: Part | None = getattr(fold, attribute)
            if span is not None:
                x += [moment(span.first_us), moment(span.last_us), None]
                y += [f"fold {fold.number}"] * 2 + [None]
        if x:
            figure.add_scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 15}, name=name)
    if final.period is not None and not final.opened_now:
        figure.add_scatter(
            x=[moment(final.period.first_us), moment(final.period.end_us)], y=["final period"] * 2, mode="lines",
            line={"color": Colour.ink, "width": 15}, name="left out",
        )  # fmt: skip
    rows = len(shown) + (final.period is not None and not final.opened_now)
    figure.update_xaxes(title_text="time of the forecasts (UTC)")
    figure.update_yaxes(type="category", range=[rows - 0.5, -0.5])
    return figure


def _fold_table(outcome: Outcome) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for fold in outcome.folds:
        parts = (fold.train, fold.validation, fold.calibration, fold.test)
        reach = None if fold.train is None else f"{time_text(fold.train.first_us)} to {time_text(fold.train.last_us)}"
        rows.append(
            (
                fold.number,
                reach,
                *(None if part is None else part.windows for part in parts),
                fold.n_parameters,
                ", ".join(map(str, fold.epochs)) or None,
                f"{sum(fold.seconds.values()):,.0f} s",
            )
        )
    return Table(
        (
            "fold", "training, UTC", "training windows", "validation", "calibration", "test", "parameters",
            "epochs, by seed", "took",
        ),
        tuple(rows),
        caption="Folds",
        digits=0,
    )  # fmt: skip


def settings_section(page: Page, outcome: Outcome) -> None:
    """Settings, choices, versions and hashes, and how to do it again."""
    page.section("Settings, versions, and how to do it again")
    page.code(outcome.conditions.command)
    page.note(f"Venue {outcome.panel.venue}. Settings that came from the environment or .env are not in the command.")
    page.facts([(name, typeset(value)) for name, value in _settings(outcome)])
    with page.folded("What each forecaster chose in fitting"):
        page.table(_notes(outcome))
    with page.folded("Inputs that were left out, and why"):
        page.facts(_left_out(outcome.folds))


def _listed(values: dict[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items() if value not in (None, ""))


def _own(trading: TradingSettings) -> dict[str, object]:
    """The settings of trading alone, without those of every command."""
    return {name: value for name, value in trading.model_dump().items() if name not in MidasSettings.model_fields}


def _settings(outcome: Outcome) -> list[tuple[str, str]]:
    conditions = outcome.conditions
    found = [
        ("Forecasters", ", ".join(NAMES[name] for name in conditions.forecasters)),
        ("Inputs", _inputs(outcome.folds)),
        ("Trading", f"{_listed(_own(conditions.trading))}; trials {conditions.trials}"),
        ("Code", f"midas_ray {outcome.data.code_version}"),
        (
            "Libraries",
            f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in LIBRARIES)}",
        ),
        ("Data", f"digest of all feature values, kinds and times: {outcome.data.digest}"),
    ]
    if conditions.network:
        found.insert(1, ("Network", _listed(dict(conditions.network))))
    return found


def _inputs(folds: list[FoldRecord]) -> str:
    counts = sorted({len(fold.columns) for fold in folds})
    found = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f"{found} feature columns, chosen on the training part of each fold"


def _notes(outcome: Outcome) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (fold.number, NAMES[name], note, f"{fold.seconds[name]:,.1f} s")
        for fold in outcome.folds
        for name, note in fold.notes.items()
    )
    return Table(("fold", "forecaster", "chosen", "took"), rows)


def _left_out(folds: list[FoldRecord]) -> list[tuple[str, str]]:
    reasons: dict[str, dict[str, list[int]]] = {}
    for fold in folds:
        for name, reason in fold.left_out.items():
            reasons.setdefault(reason, {}).setdefault(name, []).append(fold.number)
    return [
        (
            reason,
            ", ".join(
                name if len(numbers) == len(folds) else f"{name} (fold {', '.join(map(str, numbers))})"
                for name, numbers in names.items()
            ),
        )
        for reason, names in reasons.items()
    ] or [("none", "every column was an input")]
