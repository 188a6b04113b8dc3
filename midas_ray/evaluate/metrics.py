"""Everything a backtest's page says, as one JSON document for programs. Undefined numbers are null."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from midas_ray import __version__
from midas_ray.evaluate.judge import REGIMES, Scores, VariantScores, delivered_form
from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report.data import gaps_of
from midas_ray.evaluate.significance import LEVEL, RESAMPLES
from midas_ray.evaluate.trading import TradingResult
from midas_ray.evaluate.verdict import reach, strongest
from midas_ray.settings import TradingSettings


def metrics(outcome: Outcome) -> dict[str, Any]:
    """The document. Skills and shares are fractions, losses bps, returns % of the stake, intervals 95 %."""
    panel, verdict, forecasts = outcome.panel, reach(outcome), outcome.forecasts
    conditions = outcome.conditions
    shown = {name: getattr(conditions, name) for name in conditions.__slots__ if name != "trading"}
    document = {
        "version": __version__,
        "venue": panel.venue,
        "symbols": panel.symbols,
        "bucket_ms": panel.bucket_ms,
        "price_source": panel.price_source,
        "quantiles": forecasts.quantiles_Q,
        "judged": forecasts.judged,
        "baselines": forecasts.baselines,
        "interval": {"level": LEVEL, "method": "circular block bootstrap over moments", "resamples": RESAMPLES},
        "verdict": {
            "sentence": verdict.sentence,
            "skill": verdict.skill_sentence,
            "edge": verdict.edge_sentence,
            "beats": verdict.beats,
            "strongest_baseline": strongest(outcome) if forecasts.baselines else None,
            "has_edge_after_costs": verdict.has_edge,
        },
        "conditions": {
            **shown,
            "trading": conditions.trading.model_dump(mode="json", include=set(TradingSettings.__annotations__)),
        },
        "data": {
            **asdict(outcome.data),
            "gaps": {symbol: asdict(gaps_of(panel, index)) for index, symbol in enumerate(panel.symbols)},
        },
        "final_period": asdict(outcome.final),
        "folds": [asdict(fold) for fold in outcome.folds],
        "scores": _scores(outcome.scores),
        "scores_by_fold": {str(fold): _scores(scores) for fold, scores in outcome.scores_by_fold.items()},
        "scores_by_symbol": {symbol: _scores(scores) for symbol, scores in outcome.scores_by_symbol.items()},
        "scores_by_path": [_scores(scores) for scores in outcome.scores_by_path],
        "trading": None if outcome.trading is None else _trading(outcome.trading),
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def _plain(value: Any) -> Any:
    """Arrays and tuples as lists, numpy's numbers as Python's, NaN and infinities as None."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.floating | float):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _scores(scores: Scores) -> dict[str, Any]:
    forecasters: dict[str, dict[str, Any]] = {}
    for (name, form), found in scores.variants.items():
        forecasters.setdefault(name, {"delivered": delivered_form(name)})[form] = _variant(found)
    return {
        "windows": scores.n_origins,
        "moments": scores.n_moments,
        "block_length": scores.block_length,
        "forecasters": forecasters,
        "skill": {
            name: {
                "pooled": asdict(over.pooled),
                "by_horizon": asdict(over.by_horizon),
                "by_quantile": asdict(over.by_quantile),
                "by_horizon_and_quantile": asdict(over.by_cell),
            }
            for name, over in scores.skill.items()
        },
        "coverage_by_regime": {"regimes": REGIMES, **asdict(scores.coverage_by_regime)},
        "coverage_by_hour": asdict(scores.coverage_by_hour),
        "diebold_mariano": {name: asdict(found) for name, found in scores.diebold_mariano.items()},
        "spa_p_value": {"any_beats_trailing": scores.any_beats_trailing, "any_beats_judged": scores.any_beats_judged},
    }


def _variant(found: VariantScores) -> dict[str, Any]:
    return {
        "pinball_loss_bps": found.loss_HQ,
        "mean_pinball_bps": asdict(found.mean_pinball),
        "weighted_interval_score_bps": asdict(found.weighted_interval_score),
        "width_bps": found.width_bps,
        "share_at_or_below": asdict(found.calibration.below),
        "coverage": asdict(found.calibration.coverage),
        "coverage_by_horizon": asdict(found.calibration.coverage_by_horizon),
        "outer_coverage": asdict(found.calibration.outer_coverage),
    }


def _trading(result: TradingResult) -> dict[str, Any]:
    return {
        "fees": asdict(result.fees),
        "delay_buckets": result.delay,
        "round_trips": len(result.trades),
        "signals": result.signals,
        "unfilled": result.unfilled,
        "stopped_days": result.stopped_days,
        "funding_is_assumed": result.funding_is_assumed,
        "net_bps_per_round_trip": None if result.per_trade is None else asdict(result.per_trade),
        "performance": asdict(result.performance),
        "break_even": asdict(result.break_even),
        "random_entries": None if result.random_entries is None else asdict(result.random_entries),
    }
