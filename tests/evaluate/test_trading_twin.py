"""Trading equals a loop through time that was written from the rules alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import window_origins
from midas_ray.evaluate.trading import trade
from midas_ray.evaluate.trading.costs import fees_of, round_trip_bps
from midas_ray.evaluate.trading.execution import entry_delay
from midas_ray.evaluate.trading.signals import decide
from midas_ray.settings import TradingSettings
from tests.evaluate.markets import Float, forecasts_of, price_panel, random_walk
from tests.evaluate.slow_trading import decide_one, slow_equity

TAUS = np.array([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])
HORIZON = 6


def market(seed: int, *, book: bool, missing: float) -> Panel:
    """Three days of two symbols: quotes that fail now and then and for an hour, funding that is known at times."""
    rng = np.random.default_rng(seed)
    rows = 3 * 1440
    price = np.concatenate([random_walk(rows, seed, 8.0), random_walk(rows, seed + 1, 8.0)])
    price[rng.random(2 * rows) < missing] = np.nan
    price[[*range(475, 535), *range(rows + 2800, rows + 2860)]] = np.nan
    panel = price_panel(price, spread_bps=4.0, book=book, symbols=2)
    rate = np.where(rng.random(2 * rows) < 0.5, 5e-4 * rng.standard_normal(2 * rows), np.nan)
    quoted = rng.random(2 * rows) > missing
    quoted[-3:] = False
    return replace(
        panel,
        feature_names=("funding_rate",),
        values=rate[:, None],
        bid=np.where(quoted, panel.bid, np.nan),
        ask=np.where(quoted, panel.ask, np.nan),
    )


def forecasts(panel: Panel, seed: int) -> Float:
    """(n, H, Q) quantiles around means that are often larger than the costs."""
    n = len(window_origins(panel, 10, HORIZON, ()))
    rng = np.random.default_rng(seed)
    spread = np.sort(10 * rng.standard_normal((n, 1, len(TAUS))), axis=2)
    return np.broadcast_to(25 * rng.standard_normal((n, 1, 1)) + spread, (n, HORIZON, len(TAUS)))


@pytest.mark.parametrize(
    ("seed", "book", "changes"),
    [
        (1, True, {"daily_loss_limit_pct": 1e9}),
        (2, True, {"daily_loss_limit_pct": 1.0, "fee_bps": 2.0}),
        (3, True, {"daily_loss_limit_pct": 0.7, "latency_ms": 170_000, "max_position": 0.6}),
        (4, False, {"daily_loss_limit_pct": 0.5, "rule": "median", "funding_bps_8h": 3.0}),
    ],
)
def test_equity_equals_a_loop_through_time(seed: int, book: bool, changes: dict[str, Any]) -> None:
    panel = market(seed, book=book, missing=0.01)
    settings = TradingSettings(**changes)
    judged = forecasts_of(panel, {"tft": forecasts(panel, seed)}, HORIZON, TAUS)
    found = trade(panel, judged, settings, 1)
    fee_bps, delay = fees_of(settings, panel.venue).taker_bps, entry_delay(settings.latency_ms, panel.bucket_ms)
    cost = round_trip_bps(panel, judged.origins, fee_bps)
    signals = decide(judged.delivered("tft")[:, -1].astype(np.float64), TAUS, cost, settings)
    wanted = zip(judged.origins.tolist(), signals.side.tolist(), signals.size.tolist(), strict=True)
    curve, stopped = slow_equity(
        panel, judged, {row: (side, size) for row, side, size in wanted if side}, settings, fee_bps, delay
    )
    assert len(found.trades) > 200
    assert found.stopped_days == stopped
    assert stopped == 0 if changes["daily_loss_limit_pct"] > 100 else stopped > 0
    np.testing.assert_allclose(found.curve.net_pct, [curve[ts] for ts in found.curve.ts_us.tolist()], atol=1e-9)


@pytest.mark.parametrize("rule", ["distribution", "median"])
def test_decisions_equal_numerical_integration(rule: str) -> None:
    rng = np.random.default_rng(0)
    said = np.sort(30 * rng.standard_normal((200, 1)) + 20 * rng.standard_normal((200, len(TAUS))), axis=1)
    settings = TradingSettings(rule=rule, min_probability=0.6, threshold_bps=1.0)
    found = decide(said, TAUS, np.full(200, 12.0), settings)
    slow = [decide_one(forecast, TAUS.tolist(), 13.0, settings) for forecast in said.tolist()]
    assert 20 < np.count_nonzero(found.side) < 180
    np.testing.assert_array_equal(found.side, [side for side, _ in slow])
    np.testing.assert_allclose(found.size, [size for _, size in slow], atol=1e-4)
