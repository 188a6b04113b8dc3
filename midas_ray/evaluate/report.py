"""The backtest's HTML page: the verdict first, then how it was judged, then the evidence."""

from midas_ray.evaluate import figures, report_tables
from midas_ray.evaluate.figures import moment, quantile_name
from midas_ray.evaluate.judge import EWMA, MODEL, TRAILING
from midas_ray.evaluate.outcome import Conditions, FoldRecord, Outcome
from midas_ray.evaluate.report_tables import typeset
from midas_ray.evaluate.stretch import representative
from midas_ray.evaluate.verdict import BASELINE_NAMES, Verdict, reach
from midas_ray.page import Page


def render(outcome: Outcome) -> str:
    """The whole page as HTML text."""
    panel, verdict = outcome.panel, reach(outcome)
    span = f"{_time(int(outcome.forecasts.ts_us[0]))} to {_time(int(outcome.forecasts.ts_us[-1]))} UTC"
    page = Page("Backtest", f"{', '.join(panel.symbols)} on {panel.venue}; judged on {span}")
    page.verdict(typeset(verdict.skill_sentence), verdict.tone)
    page.verdict(typeset(verdict.edge_sentence), "good" if verdict.has_edge else "neutral")
    page.cards([(label, typeset(value), typeset(note)) for label, value, note in _cards(outcome)])
    _how_judged(page, outcome)
    _forecasts(page, outcome)
    _skill(page, outcome)
    _calibration(page, outcome)
    _trading(page, outcome, verdict)
    return page.render()


def _time(us: int) -> str:
    return f"{moment(us):%Y-%m-%d %H:%M}"


def _cards(outcome: Outcome) -> list[tuple[str, str, str]]:
    scores = outcome.scores
    taus = outcome.forecasts.quantiles_Q
    covered = scores.calibration[MODEL].coverage
    cards = [
        (
            f"Skill over {BASELINE_NAMES[name]}",
            f"{100 * float(scores.skill[name].pooled.value):+.1f} %",
            f"95 % interval {100 * float(scores.skill[name].pooled.lower):+.1f} to "
            f"{100 * float(scores.skill[name].pooled.upper):+.1f} %",
        )
        for name in (TRAILING, EWMA)
    ]
    cards.append(
        (
            f"Outcomes from {quantile_name(taus[0])} to {quantile_name(taus[-1])}",
            f"{100 * float(covered.value):.1f} %",
            f"nominal {100 * (taus[-1] - taus[0]):g} %; 95 % interval {100 * float(covered.lower):.1f} to "
            f"{100 * float(covered.upper):.1f} %",
        )
    )
    if outcome.trading is not None:
        curve, trades = outcome.trading.curve, len(outcome.trading.trades)
        cards.append(
            (
                "Strategy after costs",
                f"{curve.net_pct[-1]:+.2f} %",
                f"{trades} round trips; buy and hold {curve.hold_pct[-1]:+.2f} %",
            )
        )
    return cards


def _how_judged(page: Page, outcome: Outcome) -> None:
    page.section("How it was judged")
    page.facts(_facts(outcome))
    if outcome.conditions.model is None:
        page.figure(
            figures.timeline(outcome.folds),
            "Spans of the origins of each fold. Training grows; every test part lies after everything fitted.",
            height=130 + 42 * len(outcome.folds),
        )
    page.table(report_tables.folds(outcome))


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    panel, conditions, scores = outcome.panel, outcome.conditions, outcome.scores
    bucket_s = panel.bucket_ms / 1000
    facts = [
        ("Procedure", _procedure(conditions, len(outcome.folds))),
        (
            "Purge",
            f"{conditions.output_length} buckets, the longest horizon, between training, validation and test: "
            "no outcome used in fitting lies in the time that is judged",
        ),
        (
            "Windows",
            f"{scores.n_origins:,} judged at {scores.n_moments:,} moments; {conditions.input_length} buckets in, "
            f"{conditions.output_length} ahead, {bucket_s:g} s a bucket",
        ),
        ("Price", _price_source(panel.price_source)),
        ("Model", _model(outcome)),
        ("Columns left out", _left_out(outcome.folds)),
        (
            "Intervals",
            f"circular block bootstrap over moments, blocks of {scores.block_length} (horizons overlap, symbols move "
            "together); they cover the luck of the period, not that of another training run",
        ),
    ]
    if conditions.without_baseline:
        facts.append(
            ("Not judged", f"{conditions.without_baseline:,} windows too early in their symbol for a baseline")
        )
    return facts


def _procedure(conditions: Conditions, folds: int) -> str:
    if conditions.model is None:
        return f"walk-forward over {folds} folds, the model trained anew in each"
    end = _time(conditions.training_end_us or 0)
    return (
        f"the model {conditions.model} on windows after its training end, {end} UTC; "
        f"{conditions.refused:,} earlier windows were refused"
    )


def _price_source(price_source: str) -> str:
    if price_source == "close":
        return "close of each bucket; there is no book, so fills are at the close and pay the fee alone, no spread"
    return "midprice at the end of each bucket; fills at the bid and the ask"


def _model(outcome: Outcome) -> str:
    network = outcome.conditions.network
    sizes = sorted({fold.n_parameters for fold in outcome.folds})
    trained = [str(fold.epochs) for fold in outcome.folds if fold.epochs is not None]
    epochs = f", epochs trained: {', '.join(trained)}" if trained else ""
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in network.items() if value is not None)
    size = " to ".join(f"{count:,}" for count in dict.fromkeys((sizes[0], sizes[-1])))
    return f"Temporal Fusion Transformer, {size} parameters{epochs} ({settings})"


def _left_out(folds: list[FoldRecord]) -> str:
    reasons: dict[str, dict[str, list[int]]] = {}
    for fold in folds:
        for name, reason in fold.left_out.items():
            reasons.setdefault(reason, {}).setdefault(name, []).append(fold.number)
    if not reasons:
        return "none"
    phrases = []
    for reason, names in reasons.items():
        parts = [
            name if len(numbers) == len(folds) else f"{name} (fold {', '.join(map(str, numbers))})"
            for name, numbers in names.items()
        ]
        phrases.append(f"{reason}: {', '.join(parts)}")
    return "; ".join(phrases)


def _forecasts(page: Page, outcome: Outcome) -> None:
    stretch = representative(outcome.panel, outcome.forecasts)
    taus = outcome.forecasts.quantiles_Q
    page.section("Forecasts and what came")
    page.figure(
        figures.fan(outcome, stretch),
        f"{stretch.symbol}: {len(stretch.origin_us)} forecasts in a row, each from the end of the one before, with the "
        f"band from {quantile_name(taus[0])} to {quantile_name(taus[-1])}. The stretch was chosen for the median price "
        "range among all such stretches, not for how well the forecasts did.",
        height=430,
    )


def _skill(page: Page, outcome: Outcome) -> None:
    page.section("Skill against the baselines")
    page.text(
        "Skill is 1 - loss / baseline loss, with the pinball loss: 0 % is as good as the baseline, above is better. "
        "Both baselines forecast a median return of zero and use only what had happened by the origin: (a) takes the "
        "quantiles of the symbol's last returns of the same length, (b) scales fixed quantiles with an exponentially "
        "weighted volatility."
    )
    page.figure_row(
        [
            (figures.skill(outcome, TRAILING), "Skill over (a), trailing empirical quantiles, by horizon.", ""),
            (figures.skill(outcome, EWMA), "Skill over (b), EWMA-volatility-scaled quantiles, by horizon.", ""),
        ]
    )
    page.table(report_tables.by_horizon(outcome))
    page.table(report_tables.by_quantile(outcome))
    if outcome.scores_by_symbol:
        page.table(report_tables.by_symbol(outcome))


def _calibration(page: Page, outcome: Outcome) -> None:
    page.section("Calibration")
    page.text(
        "A calibrated forecaster has a tenth of the outcomes below its P10 and four fifths between P10 and P90. "
        "Bars are 95 % intervals of the model's shares. A price that often stands still puts outcomes exactly at a "
        "zero median, and the share at or below P50 above 50 %, for any honest forecaster."
    )
    page.figure_row(
        [
            (
                figures.calibration(outcome),
                "Observed against nominal share at or below each quantile, all horizons.",
                "",
            ),
            (figures.coverage(outcome), "Share of outcomes between the outer quantiles, by horizon.", ""),
        ]
    )


def _trading(page: Page, outcome: Outcome, verdict: Verdict) -> None:
    page.section("A threshold strategy on the median")
    page.text(typeset(verdict.edge_sentence))
    if outcome.trading is None:
        return
    conditions = outcome.conditions
    book = outcome.panel.price_source != "close"
    costs = "the spread of the moment and" if book else "(there is no book, hence no spread) and"
    fill = "the opposite quote (buy at the ask, sell at the bid)" if book else "the close"
    page.text(
        f"When flat, it trades if the median forecast {conditions.output_length} buckets ahead exceeds two fees of "
        f"{conditions.fee_bps:g} bps, {costs} a threshold of {conditions.threshold_bps:g} bps. It enters one bucket "
        f"later at {fill}, and leaves {conditions.output_length} buckets after the decision likewise; one position a "
        "symbol at a time, a constant stake split equally between symbols. Before costs means at the reference price "
        "without spread and fees."
    )
    page.figure(
        figures.equity(outcome.trading.curve),
        "Sum of returns on the stake. Positions are marked at the reference price. Buy and hold pays no costs here.",
        height=380,
    )
    page.table(report_tables.strategy(outcome.trading))
