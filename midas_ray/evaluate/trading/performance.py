"""Figures of merit of a strategy, from its daily returns and its round trips."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.evaluate.trading.equity import DAY_US, Equity, daily_pct, max_drawdown_pct
from midas_ray.evaluate.trading.execution import Trades

Float = NDArray[np.float64]

SHARPE_DAYS = 30
"""Fewer test days give no Sharpe ratio."""
DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Returns in % of the stake."""

    days: int
    """UTC days touched, each with its own return."""
    net_pct: float
    gross_pct: float
    hold_pct: float
    max_drawdown_pct: float
    turnover_a_day: float
    """Bought and sold in 24 hours of judged time, in stakes."""
    mean_exposure: float
    """Share of the stake in open positions, averaged over time."""
    hit_rate: float | None
    """Share of round trips that earned after costs; None without trades."""
    sharpe: float | None
    """Annualised, of daily returns over 365 days a year."""
    probabilistic_sharpe: float | None
    """Probability that the true Sharpe ratio is above 0 (Bailey and López de Prado 2012)."""
    deflated_sharpe: float | None
    """Probability that it is above the best that `trials` worthless configurations would show (2014)."""
    no_sharpe_because: str | None
    """Why the three are None."""


def performance(curve: Equity, trades: Trades, horizon: int, symbols: int, trials: int, bucket_us: int) -> Performance:
    """Figures of one strategy; `trials` configurations were tried before it was chosen."""
    daily = daily_pct(curve)
    sharpe = probabilistic = deflated = None
    reason = None
    if len(daily) < SHARPE_DAYS:
        reason = f"{len(daily)} test days, {SHARPE_DAYS} needed"
    elif daily.std(ddof=1) == 0:
        reason = "no daily return varied"
    else:
        sharpe, probabilistic, deflated = _sharpe_ratios(daily, trials)
    stakes = float(trades.size.sum()) / (horizon * symbols)
    return Performance(
        days=len(daily),
        net_pct=float(curve.net_pct[-1]),
        gross_pct=float(curve.gross_pct[-1]),
        hold_pct=float(curve.hold_pct[-1]),
        max_drawdown_pct=max_drawdown_pct(curve.net_pct),
        turnover_a_day=2 * stakes / (len(curve.ts_us) * bucket_us / DAY_US),
        mean_exposure=float(curve.exposure.mean()),
        hit_rate=float((trades.net_bps > 0).mean()) if len(trades) else None,
        sharpe=sharpe,
        probabilistic_sharpe=probabilistic,
        deflated_sharpe=deflated,
        no_sharpe_because=reason,
    )


def _sharpe_ratios(daily_pct: Float, trials: int) -> tuple[float, float, float]:
    """Annualised Sharpe ratio, and the probabilistic and deflated ones by `skfolio`.

    The trials' own Sharpe ratios are not known: their spread is taken as the sampling error of a ratio of 0 over as
    many days, the least that worthless trials show.
    """
    from skfolio.measures import expected_max_sharpe_ratio, probabilistic_sharpe_ratio

    returns = daily_pct / 100
    ratio = float(returns.mean() / returns.std(ddof=1))
    best_of_worthless = float(expected_max_sharpe_ratio(trials, 1 / np.sqrt(len(returns) - 1))) if trials > 1 else 0.0
    return (
        ratio * np.sqrt(DAYS_A_YEAR),
        float(probabilistic_sharpe_ratio(returns)),
        float(probabilistic_sharpe_ratio(returns, benchmark_sharpe_ratio=best_of_worthless)),
    )
