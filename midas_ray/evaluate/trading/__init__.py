"""What the forecasts would have earned: signals, fills at opposite quotes, fees, funding, limits, controls."""

from midas_ray.evaluate.trading.equity import Equity, max_drawdown_pct
from midas_ray.evaluate.trading.execution import Trades
from midas_ray.evaluate.trading.performance import SHARPE_DAYS, Performance
from midas_ray.evaluate.trading.result import BreakEven, RandomEntries, TradingResult, trade

__all__ = [
    "SHARPE_DAYS",
    "BreakEven",
    "Equity",
    "Performance",
    "RandomEntries",
    "Trades",
    "TradingResult",
    "max_drawdown_pct",
    "trade",
]
