"""The backtest's HTML page: the verdict first, then how it was judged, then the evidence."""

import re

import numpy as np
from numpy.typing import NDArray

from midas_ray.evaluate import figures
from midas_ray.evaluate.figures import moment, quantile_name
from midas_ray.evaluate.judge import EWMA, MODEL, TRAILING
from midas_ray.evaluate.outcome import Conditions, FoldRecord, Outcome, Part, Trading
from midas_ray.evaluate.significance import Estimates
from midas_ray.evaluate.stretch import representative
from midas_ray.evaluate.trading import SHARPE_DAYS, max_drawdown_pct
from midas_ray.evaluate.verdict import BASELINE_NAMES, Verdict, reach
from midas_ray.page import Cell, Page, Table

Float = NDArray[np.float64]

SKILL_COLUMNS = ("skill over (a), % (95 % interval)", "skill over (b), % (95 % interval)")


def render(outcome: Outcome) -> str:
    """The whole page as HTML text."""
    panel, verdict = outcome.panel, reach(outcome)
    span = f"{_time(int(outcome.forecasts.ts_us[0]))} to {_time(int(outcome.forecasts.ts_us[-1]))} UTC"
    page = Page("Backtest", f"{', '.join(panel.symbols)} on {panel.venue}; judged on {span}")
    page.verdict(_typeset(verdict.skill_sentence), verdict.tone)
    page.verdict(_typeset(verdict.edge_sentence), "good" if verdict.has_edge else "neutral")
    page.cards([(label, _typeset(value), _typeset(note)) for label, value, note in _cards(outcome)])
    _how_judged(page, outcome)
    _forecasts(page, outcome)
    _skill(page, outcome)
    _calibration(page, outcome)
    _trading(page, outcome, verdict)
    return page.render()


def _time(us: int) -> str:
    return f"{moment(us):%Y-%m-%d %H:%M}"


def _with_interval(estimates: Estimates, index: int | tuple[()] = (), digits: int = 1, sign: str = "+") -> str:
    """`+1.2 (-0.3 to +2.6)`, in percent."""
    value, lower, upper = (100 * float(part[index]) for part in (estimates.value, estimates.lower, estimates.upper))
    if not np.isfinite([value, lower, upper]).all():
        return "undefined"
    return _typeset(f"{value:{sign}.{digits}f} ({lower:{sign}.{digits}f} to {upper:{sign}.{digits}f})")


def _typeset(text: str) -> str:
    """Minus signs before numbers, and no line break between a number and its percent sign."""
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text).replace(" %", "\N{NO-BREAK SPACE}%")


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


def _part(part: Part | None) -> str:
    if part is None:
        return "–"
    first, last = moment(part.first_us), moment(part.last_us)
    return f"{first:%m-%d %H:%M} to {last:%m-%d %H:%M}"


def _how_judged(page: Page, outcome: Outcome) -> None:
    page.section("How it was judged")
    page.facts(_facts(outcome))
    if outcome.conditions.model is None:
        page.figure(
            figures.timeline(outcome.folds),
            "Spans of the origins of each fold. Training grows; every test part lies after everything fitted.",
            height=130 + 42 * len(outcome.folds),
        )
    page.table(_fold_table(outcome))


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


def _fold_table(outcome: Outcome) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for fold in outcome.folds:
        scores = outcome.scores_by_fold.get(fold.number)
        rows.append(
            (
                fold.number,
                fold.test.windows,
                _part(fold.test),
                *(
                    "too few windows" if scores is None else _with_interval(scores.skill[name].pooled)
                    for name in (TRAILING, EWMA)
                ),
                None if fold.train is None else fold.train.windows,
                None if fold.validation is None else fold.validation.windows,
                _part(fold.train),
                fold.epochs,
                fold.baseline_window,
                fold.baseline_half_life,
                fold.seconds,
            )
        )
    return Table(
        (
            "fold", "test windows", "test span, UTC", *SKILL_COLUMNS, "training windows", "validation windows",
            "training span, UTC", "epochs", "W of (a), returns", "half-life of (b), returns", "seconds",
        ),
        tuple(rows),
        caption="Folds",
        digits=0,
        note="W and the half-life are chosen on the training and validation windows of each fold.",
    )  # fmt: skip


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
            (figures.skill(outcome, TRAILING), "Skill over (a), trailing empirical quantiles, by horizon."),
            (figures.skill(outcome, EWMA), "Skill over (b), EWMA-volatility-scaled quantiles, by horizon."),
        ]
    )
    page.table(_horizon_table(outcome))
    page.table(_quantile_table(outcome))
    if outcome.scores_by_symbol:
        page.table(_symbol_table(outcome))


def _horizon_table(outcome: Outcome) -> Table:
    scores = outcome.scores
    covered = scores.calibration[MODEL].coverage_by_horizon
    minutes = outcome.panel.bucket_ms / 60_000
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            f"{(h + 1) * minutes:g} min",
            *(float(scores.loss_HQ[name][h].mean()) for name in (MODEL, TRAILING, EWMA)),
            *(_with_interval(scores.skill[name].by_horizon, h) for name in (TRAILING, EWMA)),
            _with_interval(covered, h, sign=""),
        )
        for h in range(outcome.conditions.output_length)
    )
    pooled: tuple[Cell, ...] = (
        "all",
        *(float(scores.loss_HQ[name].mean()) for name in (MODEL, TRAILING, EWMA)),
        *(_with_interval(scores.skill[name].pooled) for name in (TRAILING, EWMA)),
        _with_interval(scores.calibration[MODEL].coverage, sign=""),
    )
    return Table(
        ("horizon", "loss of the model, bps", "loss of (a), bps", "loss of (b), bps", *SKILL_COLUMNS, "coverage, %"),
        (*rows, pooled),
        caption="By horizon, mean pinball loss over the quantiles",
        digits=3,
    )


def _quantile_table(outcome: Outcome) -> Table:
    scores, taus = outcome.scores, outcome.forecasts.quantiles_Q
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            quantile_name(tau),
            *(float(scores.loss_HQ[name][:, k].mean()) for name in (MODEL, TRAILING, EWMA)),
            *(_with_interval(scores.skill[name].by_quantile, k) for name in (TRAILING, EWMA)),
            _with_interval(scores.calibration[MODEL].below, k, sign=""),
        )
        for k, tau in enumerate(taus)
    )
    return Table(
        (
            "quantile", "loss of the model, bps", "loss of (a), bps", "loss of (b), bps", *SKILL_COLUMNS,
            "outcomes at or below, %",
        ),
        rows,
        caption="By quantile, mean pinball loss over the horizons",
        digits=3,
    )  # fmt: skip


def _symbol_table(outcome: Outcome) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            symbol,
            scores.n_origins,
            *(_with_interval(scores.skill[name].pooled) for name in (TRAILING, EWMA)),
            _with_interval(scores.calibration[MODEL].coverage, sign=""),
        )
        for symbol, scores in outcome.scores_by_symbol.items()
    )
    return Table(("symbol", "windows", *SKILL_COLUMNS, "coverage, %"), rows, caption="By symbol")


def _calibration(page: Page, outcome: Outcome) -> None:
    page.section("Calibration")
    page.text(
        "A calibrated forecaster has a tenth of the outcomes below its P10 and four fifths between P10 and P90. "
        "Bars are 95 % intervals. A price that often stands still puts outcomes exactly at a zero median, and the "
        "share at or below P50 above 50 %, for any honest forecaster."
    )
    page.figure_row(
        [
            (figures.calibration(outcome), "Observed against nominal share at or below each quantile, all horizons."),
            (figures.coverage(outcome), "Share of outcomes between the outer quantiles, by horizon."),
        ]
    )


def _trading(page: Page, outcome: Outcome, verdict: Verdict) -> None:
    page.section("A threshold strategy on the median")
    page.text(_typeset(verdict.edge_sentence))
    if outcome.trading is None:
        return
    conditions = outcome.conditions
    page.text(
        f"Flat, it trades when the median forecast {conditions.output_length} buckets ahead exceeds two fees of "
        f"{conditions.fee_bps:g} bps, the spread of the moment and a threshold of {conditions.threshold_bps:g} bps. "
        f"It enters one bucket later at the opposite quote, and leaves {conditions.output_length} buckets after the "
        "decision at the opposite quote; one position a symbol at a time, a constant stake split equally between "
        "symbols. Before costs means at the reference price without spread and fees."
    )
    page.figure(
        figures.equity(outcome.trading.curve),
        "Sum of returns on the stake. Positions are marked at the reference price. Buy and hold pays no costs here.",
        height=380,
    )
    page.table(_trading_table(outcome.trading))


def _trading_table(result: Trading) -> Table:
    trades, curve = result.trades, result.curve
    sharpe = (
        f"not given: {result.days} test days, {SHARPE_DAYS} needed"
        if result.days < SHARPE_DAYS
        else "undefined: no daily return varied" if result.sharpe is None else f"{result.sharpe:.2f}"
    )  # fmt: skip
    mean = result.per_trade
    rows: list[tuple[str, str]] = [
        ("round trips", f"{len(trades):,} of {trades.signals:,} signals ({trades.unfilled:,} without a quote)"),
        ("return after costs", f"{curve.net_pct[-1]:+.2f} %"),
        ("return before costs", f"{curve.gross_pct[-1]:+.2f} %"),
        ("buy and hold, no costs", f"{curve.hold_pct[-1]:+.2f} %"),
        ("largest drawdown after costs", f"{max_drawdown_pct(curve.net_pct):.2f} % of the stake"),
        ("Sharpe ratio, annualised", sharpe),
    ]
    if mean is not None:
        rows[1:1] = [
            (
                "net per round trip",
                f"{float(mean.value):+.2f} bps (95 % interval {float(mean.lower):+.2f} to {float(mean.upper):+.2f})",
            ),
            ("gross per round trip", f"{trades.gross_bps.mean():+.2f} bps"),
            ("winning round trips", f"{100 * (trades.net_bps > 0).mean():.0f} %"),
            ("long / short", f"{int((trades.side > 0).sum()):,} / {int((trades.side < 0).sum()):,}"),
        ]
    return Table(("strategy", "result"), tuple((name, _typeset(value)) for name, value in rows))
