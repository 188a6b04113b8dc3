"""The tables of a backtest's page."""

import re

import numpy as np

from midas_ray.evaluate.figures import moment, quantile_name
from midas_ray.evaluate.judge import EWMA, MODEL, TRAILING
from midas_ray.evaluate.outcome import Outcome, Part, Trading
from midas_ray.evaluate.significance import Estimates
from midas_ray.evaluate.trading import SHARPE_DAYS, max_drawdown_pct
from midas_ray.page import Cell, Table

SKILL_COLUMNS = ("skill over (a), % (95 % interval)", "skill over (b), % (95 % interval)")


def _with_interval(estimates: Estimates, index: int | tuple[()] = (), digits: int = 1, sign: str = "+") -> str:
    """`+1.2 (-0.3 to +2.6)`, in percent."""
    value, lower, upper = (100 * float(part[index]) for part in (estimates.value, estimates.lower, estimates.upper))
    if not np.isfinite([value, lower, upper]).all():
        return "undefined"
    return typeset(f"{value:{sign}.{digits}f} ({lower:{sign}.{digits}f} to {upper:{sign}.{digits}f})")


def typeset(text: str) -> str:
    """Minus signs before numbers, and no line break between a number and its percent sign."""
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text).replace(" %", "\N{NO-BREAK SPACE}%")


def _part(part: Part | None) -> str:
    if part is None:
        return "–"
    first, last = moment(part.first_us), moment(part.last_us)
    return f"{first:%m-%d %H:%M} to {last:%m-%d %H:%M}"


def folds(outcome: Outcome) -> Table:
    """What each fold was trained and judged on, and how it did."""
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


def by_horizon(outcome: Outcome) -> Table:
    """Losses, skills and coverage by horizon, and over all."""
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


def by_quantile(outcome: Outcome) -> Table:
    """Losses, skills and observed shares by quantile."""
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


def by_symbol(outcome: Outcome) -> Table:
    """Skills and coverage by symbol."""
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


def strategy(result: Trading) -> Table:
    """What the threshold strategy earned."""
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
    return Table(("strategy", "result"), tuple((name, typeset(value)) for name, value in rows))
