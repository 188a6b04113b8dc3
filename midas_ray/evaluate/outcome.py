"""Everything a backtest found: what the report, the JSON and the CSV are written from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate import significance, trading
from midas_ray.evaluate.judge import MODEL, Forecasts, Scores, mean_per_trade, score
from midas_ray.evaluate.significance import Estimates

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """Windows of one part of a fold: how many, and the moments of the first and last origin."""

    windows: int
    first_us: int
    last_us: int

    @classmethod
    def of(cls, ts_us: NDArray[np.int64]) -> "Part":
        return cls(len(ts_us), int(ts_us.min()), int(ts_us.max()))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldRecord:
    """How one fold was judged. `train` and `validation` are None where a finished model was loaded."""

    number: int
    train: Part | None
    validation: Part | None
    test: Part
    columns: tuple[str, ...]
    left_out: dict[str, str]
    n_parameters: int
    epochs: int | None
    """None where a finished model was loaded."""
    baseline_window: int
    baseline_half_life: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The terms of the judgement."""

    model: str | None
    """Folder of the judged model; None for walk-forward with retraining."""
    training_end_us: int | None
    """For a loaded model: nothing at or before this moment is judged."""
    refused: int
    """Windows refused because they lie before the loaded model's training end."""
    without_baseline: int
    """Windows left out because too little was realised before them for a baseline."""
    input_length: int
    output_length: int
    network: dict[str, float | int | None]
    fee_bps: float
    threshold_bps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trading:
    """The strategy's result; None in Outcome for a horizon of one bucket."""

    trades: trading.Trades
    curve: trading.Equity
    per_trade: Estimates | None
    """Mean net bps per round trip; None without trades."""
    sharpe: float | None
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A whole backtest."""

    panel: Panel
    conditions: Conditions
    folds: list[FoldRecord]
    forecasts: Forecasts
    scores: Scores
    scores_by_fold: dict[int, Scores]
    """Only folds with enough windows for an interval."""
    scores_by_symbol: dict[str, Scores]
    """Only where there are several symbols, and only those with enough windows."""
    trading: Trading | None


def conclude(panel: Panel, conditions: Conditions, folds: list[FoldRecord], forecasts: Forecasts) -> Outcome:
    """Score and trade the forecasts of all folds. Raises TooFewRowsError where there are too few to judge."""
    present = np.unique(forecasts.symbol_index)
    by_symbol = _by_group(forecasts, forecasts.symbol_index) if len(present) > 1 else {}
    return Outcome(
        panel=panel,
        conditions=conditions,
        folds=folds,
        forecasts=forecasts,
        scores=score(forecasts),
        scores_by_fold=_by_group(forecasts, forecasts.fold),
        scores_by_symbol={panel.symbols[index]: scores for index, scores in by_symbol.items()},
        trading=_trade(panel, conditions, forecasts) if conditions.output_length > 1 else None,
    )


def _by_group(forecasts: Forecasts, group_n: NDArray[np.int64]) -> dict[int, Scores]:
    """Scores of each group that has enough moments for an interval and a price that moves."""
    least = significance.least_moments(forecasts.actual_nH.shape[1])
    found = {}
    for group in np.unique(group_n):
        part = forecasts.select(group_n == group)
        if len(np.unique(part.ts_us)) >= least and part.actual_nH.any():
            found[int(group)] = score(part)
    return found


def _trade(panel: Panel, conditions: Conditions, forecasts: Forecasts) -> Trading:
    middle = int(np.argmin(np.abs(forecasts.quantiles_Q - 0.5)))
    median_n = forecasts.forecast_nHQ[MODEL][:, -1, middle]
    trades = trading.run_strategy(
        panel, forecasts.origins, median_n, conditions.output_length, conditions.fee_bps, conditions.threshold_bps
    )
    curve = trading.equity(panel, forecasts.origins, trades, conditions.output_length, conditions.fee_bps)
    return Trading(
        trades=trades,
        curve=curve,
        per_trade=mean_per_trade(forecasts, trades.origin, trades.net_bps) if len(trades) else None,
        sharpe=trading.sharpe_ratio(curve),
        days=trading.days(curve),
    )
