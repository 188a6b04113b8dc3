"""Everything a backtest found: what the report, the JSON and the CSV are written from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.final_period import FinalPeriod
from midas_ray.dataset.panel import Panel
from midas_ray.evaluate import significance
from midas_ray.evaluate.final_period import Opening
from midas_ray.evaluate.judge import Forecasts, Scores, score
from midas_ray.evaluate.trading import TradingResult, trade
from midas_ray.forecast.interpretation import Interpretation
from midas_ray.settings import TradingSettings

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
    """How one fold was judged. The first three parts are None where a finished model was loaded."""

    number: int
    train: Part | None
    validation: Part | None
    calibration: Part | None
    test: Part
    columns: tuple[str, ...]
    left_out: dict[str, str]
    n_parameters: int | None
    """Of the network; None where none is judged."""
    epochs: tuple[int, ...]
    """Of the network, by seed; empty where a finished model was loaded or none is judged."""
    notes: dict[str, str]
    """What each forecaster chose in fitting."""
    seconds: dict[str, float]
    """Fitting and forecasting, by forecaster."""
    seed_loss_bps: dict[int, float]
    """Mean pinball loss of the judged forecaster, by seed."""
    interpretation: Interpretation | None


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
    network: dict[str, float | int | str | None]
    forecasters: tuple[str, ...]
    """The judged one first."""
    seeds: int
    cross_validation: str
    """`walk-forward` or `combinatorial`."""
    trading: TradingSettings
    trials: int
    """Configurations tried before this one: they deflate its Sharpe ratio."""
    command: str
    """How to make this judgement again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolData:
    """What the dataset holds of one symbol."""

    rows: int
    first_us: int
    last_us: int
    missing_rows: int
    """Buckets without P, or absent, between first and last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataUsed:
    """What was judged on, so that it can be told from any other data."""

    symbols: dict[str, SymbolData]
    digest: str
    """Of all feature values, kinds and times."""
    code_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalState:
    """The final period of the data: sealed, or what opened it."""

    period: FinalPeriod | None
    """None where --final-share is 0."""
    opened_now: bool
    """This judgement is that of the final period."""
    earlier: Opening | None
    """An earlier opening that has seen data from this period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A whole backtest."""

    panel: Panel
    conditions: Conditions
    data: DataUsed
    final: FinalState
    folds: list[FoldRecord]
    forecasts: Forecasts
    scores: Scores
    scores_by_fold: dict[int, Scores]
    """Only folds with enough windows for an interval."""
    scores_by_symbol: dict[str, Scores]
    """Only where there are several symbols, and only those with enough windows."""
    scores_by_path: list[Scores]
    """Of the paths of a combinatorial cross-validation; the forecasts above are those of the first. Else empty."""
    trading: TradingResult | None
    """None for a horizon of one bucket."""


def data_used(panel: Panel, code_version: str) -> DataUsed:
    """Spans, gaps and a digest of a panel."""
    found = {}
    for index, symbol in enumerate(panel.symbols):
        own = panel.symbol_index == index
        ts_us = panel.ts_us[own]
        buckets = int(ts_us[-1] - ts_us[0]) // panel.bucket_us + 1
        found[symbol] = SymbolData(
            rows=len(ts_us),
            first_us=int(ts_us[0]),
            last_us=int(ts_us[-1]),
            missing_rows=buckets - int(np.isfinite(panel.price[own]).sum()),
        )
    return DataUsed(symbols=found, digest=panel.digest(), code_version=code_version)


def conclude(
    panel: Panel,
    conditions: Conditions,
    data: DataUsed,
    final: FinalState,
    folds: list[FoldRecord],
    forecasts: Forecasts,
    paths: list[Forecasts],
) -> Outcome:
    """Score and trade the forecasts of all folds. Raises TooFewRowsError where there are too few to judge."""
    present = np.unique(forecasts.symbol_index)
    by_symbol = _by_group(forecasts, forecasts.symbol_index) if len(present) > 1 else {}
    return Outcome(
        panel=panel,
        conditions=conditions,
        data=data,
        final=final,
        folds=folds,
        forecasts=forecasts,
        scores=score(forecasts),
        scores_by_fold=_by_group(forecasts, forecasts.fold),
        scores_by_symbol={panel.symbols[index]: scores for index, scores in by_symbol.items()},
        scores_by_path=[score(path, every_form=False) for path in paths],
        trading=trade(panel, forecasts, conditions.trading, conditions.trials)
        if conditions.output_length > 1
        else None,
    )


def _by_group(forecasts: Forecasts, group_n: NDArray[np.int64]) -> dict[int, Scores]:
    """Scores of each group that has enough moments for an interval and a price that moves."""
    least = significance.least_moments(forecasts.actual_nH.shape[1])
    found = {}
    for group in np.unique(group_n):
        part = forecasts.select(group_n == group)
        if len(np.unique(part.ts_us)) >= least and part.actual_nH.any():
            found[int(group)] = score(part, every_form=False)
    return found
