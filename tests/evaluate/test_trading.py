from dataclasses import replace

import numpy as np
import pytest
from skfolio.measures import expected_max_sharpe_ratio, probabilistic_sharpe_ratio

from midas_ray.dataset.panel import Panel
from midas_ray.errors import UsageError
from midas_ray.evaluate.trading import SHARPE_DAYS, TradingResult, max_drawdown_pct, trade
from midas_ray.evaluate.trading.costs import TIERS, Fees, fees_of, funding_bps, net_return_bps
from midas_ray.evaluate.trading.equity import Equity, daily_pct, equity
from midas_ray.evaluate.trading.execution import Market, Trades, entry_delay, execute
from midas_ray.evaluate.trading.limits import stop_after_losses
from midas_ray.evaluate.trading.performance import performance
from midas_ray.evaluate.trading.signals import Signals, decide, mean_bps, probability_above
from midas_ray.settings import TradingSettings
from tests.dataset.synthetic import BUCKET_US, START_US, take
from tests.evaluate.markets import Float, Int, forecasts_of, price_panel, random_walk

DAY_US = 86_400_000_000
TAUS = np.array([0.1, 0.5, 0.9])


def fees(bps: float = 5.0) -> Fees:
    return Fees("test", bps, bps)


def signals(side: list[int], size: float = 1.0) -> Signals:
    return Signals(np.array(side), np.full(len(side), size), np.zeros(len(side)))


def filled(
    panel: Panel, origins: Int, side: list[int], horizon: int = 3, fee_bps: float = 5.0, delay: int = 1
) -> Trades:
    return execute(Market.of(panel, fees(fee_bps), 0.0), origins, signals(side), horizon, delay)[0]


# Fills


def test_fills_by_hand_long() -> None:
    panel = price_panel(np.array([100.0, 101.0, 102.0, 103.0, 104.0]), spread_bps=20.0)
    trades = filled(panel, np.array([0]), [1])
    assert (trades.entry_row[0], trades.exit_row[0]) == (1, 3)
    assert trades.entry_px[0] == pytest.approx(101 * 1.001)  # the ask of the next bucket
    assert trades.exit_px[0] == pytest.approx(103 * 0.999)  # the bid at the horizon
    ratio = 103 * 0.999 / (101 * 1.001)
    assert trades.net_bps[0] == pytest.approx(1e4 * (ratio - 1) - 5 - 5 * ratio)
    assert trades.gross_bps[0] == pytest.approx(1e4 * (103 / 101 - 1))


def test_fills_by_hand_short() -> None:
    panel = price_panel(np.array([100.0, 101.0, 102.0, 103.0, 104.0]), spread_bps=20.0)
    trades = filled(panel, np.array([0]), [-1])
    assert trades.entry_px[0] == pytest.approx(101 * 0.999)
    assert trades.exit_px[0] == pytest.approx(103 * 1.001)
    ratio = 103 * 1.001 / (101 * 0.999)
    assert trades.net_bps[0] == pytest.approx(1e4 * (1 - ratio) - 5 - 5 * ratio)


def test_fees_by_hand() -> None:
    one = np.array([1])
    assert net_return_bps(one, np.array([100.0]), np.array([101.0]), 5.0)[0] == pytest.approx(89.95)
    assert net_return_bps(-one, np.array([100.0]), np.array([101.0]), 5.0)[0] == pytest.approx(-110.05)
    assert net_return_bps(one, np.array([100.0]), np.array([100.0]), 5.0)[0] == pytest.approx(-10)


def test_without_a_book_fills_are_at_the_close_and_pay_the_fee_alone() -> None:
    panel = price_panel(np.array([100.0, 101.0, 102.0, 103.0]), book=False)
    trades = filled(panel, np.array([0]), [1])
    assert (trades.entry_px[0], trades.exit_px[0]) == (101.0, 103.0)


def test_latency_beyond_a_bucket_fills_later() -> None:
    assert [entry_delay(ms, 60_000) for ms in (0, 500, 60_000, 60_001, 180_000)] == [1, 1, 1, 2, 3]
    panel = price_panel(np.array([100.0, 101.0, 102.0, 103.0, 104.0]), book=False)
    assert filled(panel, np.array([0]), [1], delay=2).entry_px[0] == 102.0


def test_without_a_quote_nothing_is_bought_and_an_exit_waits_for_the_next_one() -> None:
    panel = price_panel(np.linspace(100.0, 111.0, 12))
    bid, ask = panel.bid.copy(), panel.ask.copy()
    bid[[1, 7]] = ask[[1, 7]] = np.nan
    panel = replace(panel, bid=bid, ask=ask)
    trades, unfilled = execute(Market.of(panel, fees(), 0.0), np.array([0, 4]), signals([1, 1]), 3, 1)
    assert (trades.entry_row.tolist(), trades.exit_row.tolist()) == ([5], [8])
    assert unfilled == 1
    bid[7:] = ask[7:] = np.nan
    stranded = filled(replace(panel, bid=bid, ask=ask), np.array([4]), [1])
    assert stranded.exit_row[0] == 11
    assert stranded.exit_px[0] == pytest.approx(panel.price[11] - (ask[5] - bid[5]) / 2)


def test_quotes_of_another_symbol_fill_nothing() -> None:
    panel = price_panel(np.concatenate([np.full(6, 100.0), np.full(6, 7.0)]), symbols=2)
    bid, ask = panel.bid.copy(), panel.ask.copy()
    bid[3:6] = ask[3:6] = np.nan
    trades = filled(replace(panel, bid=bid, ask=ask), np.array([0]), [1])
    assert trades.exit_px[0] == pytest.approx(100 * (1 - 1e-4))


def test_the_future_changes_no_fill() -> None:
    rng = np.random.default_rng(5)
    panel = price_panel(random_walk(600, 5))
    origins, side = np.arange(20, 580), rng.integers(-1, 2, 560)
    whole = filled(panel, origins, side.tolist(), 10)
    cut = 300
    known = origins + 10 < cut
    part = filled(take(panel, np.arange(cut)), origins[known], side[known].tolist(), 10)
    early = whole.exit_row < cut
    assert early.sum() > 100
    for name in ("entry_row", "exit_row", "side", "entry_px", "exit_px", "net_bps", "sleeve"):
        np.testing.assert_array_equal(getattr(whole, name)[early], getattr(part, name))


def test_a_sleeve_is_free_when_its_turn_comes() -> None:
    panel = price_panel(np.concatenate([random_walk(100, 0), random_walk(100, 1)]), symbols=2)
    rows = np.arange(80)
    origins = np.stack([rows, rows + 100], axis=1).ravel()
    trades = filled(panel, origins, [1] * 160, 10)
    assert len(trades) == 160
    for symbol in (0, 1):
        for sleeve in range(10):
            own = trades.select((trades.sleeve == sleeve) & (panel.symbol_index[trades.entry_row] == symbol))
            assert len(own) == 8
            assert (own.entry_row[1:] > own.exit_row[:-1]).all()
    assert (np.diff(panel.ts_us[trades.entry_row]) >= 0).all()


# Funding and fees


def test_funding_is_paid_by_longs_who_hold_over_a_funding_time() -> None:
    # START_US is midnight; row k ends k + 1 minutes later: row 479 ends at 08:00
    panel = price_panel(np.full(600, 100.0))
    entry, leave = np.array([470, 470, 479, 480, 10]), np.array([480, 480, 490, 490, 20])
    side = np.array([1, -1, 1, 1, 1])
    np.testing.assert_allclose(funding_bps(panel, side, entry, leave, 2.0), [2.0, -2.0, 0.0, 0.0, 0.0])
    spot = replace(panel, venue="binance-spot")
    assert not funding_bps(spot, side, entry, leave, 2.0).any()


def test_a_known_funding_rate_is_used() -> None:
    panel = price_panel(np.full(600, 100.0))
    panel = replace(panel, feature_names=("funding_rate",), values=np.full((600, 1), 3e-4))
    assert funding_bps(panel, np.array([1]), np.array([470]), np.array([480]), 9.0)[0] == pytest.approx(3.0)


def test_fees_of_tiers() -> None:
    assert fees_of(TradingSettings(), "binance-futures") == TIERS["binance-futures-vip0"]
    assert fees_of(TradingSettings(), "binance-spot").taker_bps == 10.0
    assert fees_of(TradingSettings(fee_bps=0.5, fee_tier="free"), "binance-spot").taker_bps == 0.5
    with pytest.raises(UsageError, match="--fee-tier gold: expected one of binance-futures-vip0, "):
        fees_of(TradingSettings(fee_tier="gold"), "binance-spot")


def test_every_funding_time_is_charged() -> None:
    panel = price_panel(np.full(1500, 100.0))
    rate = np.full((1500, 1), 1e-4)
    rate[959] = 5e-4  # row 959 ends at 16:00
    panel = replace(panel, feature_names=("funding_rate",), values=rate)
    paid = funding_bps(panel, np.array([1, 1]), np.array([470, 479]), np.array([1439, 958]), 9.0)
    np.testing.assert_allclose(paid, [1 + 5 + 1, 0])


def test_the_exact_sharpe_ratios_of_the_paper() -> None:
    """Bailey and López de Prado 2014, the numerical example: 1,250 days, annual Sharpe ratio 2.5, 100 trials."""
    days = np.concatenate([np.full(105, -1.0), np.full(1145, 0.0)])  # skewness -3, kurtosis 10
    returns = (days - days.mean()) / days.std(ddof=1) + 2.5 / np.sqrt(250)
    expected = expected_max_sharpe_ratio(100, np.sqrt(0.5 / 250))
    assert expected == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe_ratio(returns, benchmark_sharpe_ratio=expected) == pytest.approx(0.9004, abs=5e-4)


# Signals


def test_probability_equals_interpolation_row_by_row() -> None:
    rng = np.random.default_rng(0)
    forecast = np.sort(rng.normal(size=(300, 3)), axis=1)
    level = 2 * rng.normal(size=300)
    expected = [1 - np.interp(x, values, TAUS) for x, values in zip(level, forecast, strict=True)]
    np.testing.assert_allclose(probability_above(forecast, TAUS, level), expected)
    still = np.array([[0.0, 0.0, 4.0]])  # the price stands still half of the time
    assert probability_above(still, TAUS, np.array([0.0]))[0] == pytest.approx(0.5)


def test_mean_and_probability_by_hand() -> None:
    taus = np.array([0.25, 0.5, 0.75])
    forecast = np.array([[-4.0, 0.0, 8.0]])
    # flat tails: 0.25 x -4, then -2 and 4 in the middle quarters, then 0.25 x 8
    assert mean_bps(forecast, taus)[0] == pytest.approx(0.25 * (-4 - 2 + 4 + 8))
    assert probability_above(forecast, taus, np.array([4.0]))[0] == pytest.approx(1 - 0.625)
    assert probability_above(forecast, taus, np.array([99.0]))[0] == pytest.approx(0.25)


def test_the_whole_distribution_decides() -> None:
    cost = np.full(4, 10.0)
    forecast = np.array([[5.0, 20.0, 35.0], [-35.0, -20.0, -5.0], [-40.0, 2.0, 200.0], [-9.0, 0.0, 9.0]])
    found = decide(forecast, TAUS, cost, TradingSettings())
    assert found.side.tolist() == [1, -1, 0, 0]  # the third has a large mean, but earns less often than not
    np.testing.assert_allclose(found.size[:2], min(1.0, (20 - 10) / 15))
    median = decide(forecast, TAUS, cost, TradingSettings(rule="median"))
    assert median.side.tolist() == [1, -1, 0, 0]
    assert median.size.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert decide(forecast, TAUS, cost, TradingSettings(threshold_bps=11.0)).side.tolist()[:2] == [0, 0]
    assert not decide(forecast, TAUS, np.full(4, np.nan), TradingSettings()).side.any()


# Equity and limits


def test_equity_ends_at_the_sum_of_results_and_holds_beside() -> None:
    price = np.concatenate([random_walk(200, 1), random_walk(200, 2)])
    panel = price_panel(price, symbols=2)
    rows = np.arange(10, 180)
    origins = np.stack([rows, rows + 200], axis=1).ravel()
    side = np.random.default_rng(0).integers(-1, 2, len(origins)).tolist()
    trades = filled(panel, origins, side, 10)
    curve = equity(panel, origins, trades, 10, 5.0)
    assert curve.net_pct[-1] == pytest.approx(trades.net_bps.sum() / 100 / 2 / 10)
    assert curve.gross_pct[-1] == pytest.approx(trades.gross_bps.sum() / 100 / 2 / 10)
    expected = 100 * np.mean([price[189] / price[10], price[389] / price[210]]) - 100
    assert curve.hold_pct[-1] == pytest.approx(expected)
    assert curve.hold_pct[0] == 0
    assert 0.2 < curve.exposure.mean() < 0.9
    assert curve.exposure[-1] == 0


def test_an_open_position_is_marked_between_entry_and_exit() -> None:
    panel = price_panel(np.array([100.0, 100.0, 110.0, 105.0, 105.0]), spread_bps=0.0)
    trades = filled(panel, np.array([0]), [1], fee_bps=10.0)
    curve = equity(panel, np.array([0, 1]), trades, 3, fee_bps=10.0)
    # one of three sleeves: the entry fee; 10 % up; closed 5 % up, less a fee on 105; flat
    np.testing.assert_allclose(3 * curve.net_pct, [0.0, -0.1, 9.9, 4.795, 4.795], atol=1e-9)
    np.testing.assert_allclose(3 * curve.exposure, [0, 1, 1, 0, 0])


def test_equity_equals_a_slow_loop() -> None:
    panel = price_panel(random_walk(120, 7), spread_bps=3.0)
    origins = np.arange(5, 100)
    side = np.random.default_rng(3).integers(-1, 2, 95)
    trades = filled(panel, origins, side.tolist(), 6, 2.0)
    curve = equity(panel, origins, trades, 6, 2.0)
    for at, ts_us in enumerate(curve.ts_us):
        total = 0.0
        for k, origin in enumerate(origins):
            if side[k] == 0 or panel.ts_us[origin + 1] > ts_us:
                continue
            entry = panel.ask[origin + 1] if side[k] > 0 else panel.bid[origin + 1]
            if panel.ts_us[origin + 6] <= ts_us:
                leave = panel.bid[origin + 6] if side[k] > 0 else panel.ask[origin + 6]
                total += 1e4 * side[k] * (leave / entry - 1) - 2.0 * (1 + leave / entry)
            else:
                now = panel.price[np.searchsorted(panel.ts_us, ts_us)]
                total += 1e4 * side[k] * (now / entry - 1) - 2.0
        assert curve.net_pct[at] == pytest.approx(total / 6 / 100)


def test_a_loss_limit_closes_everything_until_midnight() -> None:
    price = np.full(3000, 100.0)
    price[100:] = 90.0  # ten percent down within the first day
    panel = price_panel(price, spread_bps=0.0)
    origins = np.arange(50, 2900)
    market = Market.of(panel, fees(0.0), 0.0)
    trades, _ = execute(market, origins, signals([1] * len(origins)), 10, 1)
    kept, stopped = stop_after_losses(market, origins, trades, 10, 1, limit_pct=5.0)
    assert stopped == 1
    entered = panel.ts_us[kept.entry_row]
    first_day = START_US + DAY_US
    assert entered[entered <= first_day].max() == panel.ts_us[100]  # the fall is known at row 100
    assert (kept.exit_row[entered <= panel.ts_us[100]] <= 101).all()
    assert entered[entered > first_day].min() == first_day + BUCKET_US
    unlimited, none = stop_after_losses(market, origins, trades, 10, 1, limit_pct=50.0)
    assert (len(unlimited), none) == (len(trades), 0)


def test_drawdown_by_hand() -> None:
    assert max_drawdown_pct(np.array([1.0, 3.0, 0.5, 2.0, 4.0, 3.0])) == pytest.approx(2.5)
    assert max_drawdown_pct(np.array([-1.0, -2.0])) == pytest.approx(2.0)
    assert max_drawdown_pct(np.array([0.0, 1.0])) == 0


def _daily(returns_pct: Float) -> Equity:
    ts_us = START_US + DAY_US * np.arange(1, len(returns_pct) + 1)
    zero = np.zeros(len(returns_pct))
    return Equity(ts_us, np.cumsum(returns_pct), zero, zero, zero)


def test_midnight_ends_a_day() -> None:
    returns = np.array([1.0, -0.5, 2.0])
    np.testing.assert_allclose(daily_pct(_daily(returns)), returns)


def test_sharpe_ratios_need_thirty_days() -> None:
    rng = np.random.default_rng(0)
    nothing = filled(price_panel(np.full(9, 100.0)), np.array([0]), [0])
    short = performance(_daily(rng.normal(0.1, 1, SHARPE_DAYS - 1)), nothing, 10, 1, 1, DAY_US)
    assert (short.sharpe, short.no_sharpe_because) == (None, "29 test days, 30 needed")
    returns = rng.normal(0.2, 1, 120)
    long = performance(_daily(returns), nothing, 10, 1, 1, DAY_US)
    assert long.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(365), rel=1e-6)
    assert long.probabilistic_sharpe == long.deflated_sharpe
    assert 0.5 < (long.probabilistic_sharpe or 0) < 1
    tried = performance(_daily(returns), nothing, 10, 1, 100, DAY_US)
    assert (tried.deflated_sharpe or 0) < (long.deflated_sharpe or 0)
    flat = performance(_daily(np.zeros(40)), nothing, 10, 1, 1, DAY_US)
    assert flat.no_sharpe_because == "no daily return varied"


def test_turnover_and_exposure_by_hand() -> None:
    panel = price_panel(np.full(1450, 100.0))
    origins = np.arange(10, 730)  # half a day and three buckets
    trades = filled(panel, origins, [1, -1] + [0] * 718)
    curve = equity(panel, origins, trades, 3, 5.0)
    found = performance(curve, trades, 3, 1, 1, BUCKET_US)
    # two of three sleeves bought and sold once; each was held for two buckets
    assert found.turnover_a_day == pytest.approx(2 * (2 / 3) * 1440 / 723)
    assert found.mean_exposure == pytest.approx(2 * 2 / 3 / 723)
    assert found.hit_rate == 0


# The whole


def traded(panel: Panel, forecast: Float, **values: object) -> TradingResult:
    return trade(panel, forecasts_of(panel, {"tft": forecast}), TradingSettings(**values), 1)


def perfect(panel: Panel, sign: float = 1.0) -> Float:
    forecasts = forecasts_of(panel, {"tft": np.zeros((10, 3))})
    known = sign * forecasts.actual_nH[:, :, None] + np.array([-1.0, 0.0, 1.0])
    return np.asarray(known)


def test_a_forecast_of_nothing_never_trades() -> None:
    panel = price_panel(random_walk(500, 1))
    found = traded(panel, np.tile([-9.0, 0.0, 9.0], (10, 1)))
    assert len(found.trades) == 0
    assert found.per_trade is None
    assert found.random_entries is None
    assert not found.curve.net_pct.any()
    assert found.break_even.break_even_bps is None


def test_perfect_foresight_earns_and_its_mirror_loses_as_much_before_costs() -> None:
    panel = price_panel(random_walk(800, 1), spread_bps=0.0)
    found = traded(panel, perfect(panel), fee_bps=0.0)
    mirrored = traded(panel, perfect(panel, -1.0), fee_bps=0.0, daily_loss_limit_pct=1e9)
    assert found.performance.net_pct > 1
    assert found.performance.gross_pct == pytest.approx(-mirrored.performance.gross_pct, rel=1e-6)
    assert found.random_entries is not None
    assert found.random_entries.better_share == 0
    assert abs(found.random_entries.mean_pct) < found.performance.net_pct / 5


def test_forecasts_in_another_order_earn_about_minus_their_costs() -> None:
    panel = price_panel(random_walk(3000, 1), spread_bps=2.0)
    shuffled = np.random.default_rng(0).permutation(perfect(panel))
    found = traded(panel, shuffled, fee_bps=1.0)
    assert found.per_trade is not None
    assert found.per_trade.lower < -4.0 < found.per_trade.upper
    assert found.random_entries is not None
    assert 0.01 < found.random_entries.better_share < 0.99


def test_break_even_is_where_the_same_rule_stops_earning() -> None:
    panel = price_panel(random_walk(2000, 3), spread_bps=0.0)
    found = traded(panel, 0.5 * perfect(panel), fee_bps=1.0).break_even
    assert found.net_bps[0] > 0
    assert (np.diff(found.trades) <= 0).all()
    assert found.break_even_bps is not None


def test_a_lucky_trade_beyond_a_loss_moves_no_break_even() -> None:
    """At 15 bps all but one lose; at 25 bps only that one is left, and wins: the rule stops earning before 15."""
    panel = price_panel(100 * np.exp(np.cumsum(np.full(400, 1e-4))), spread_bps=0.0)
    forecast = np.full((len(forecasts_of(panel, {"tft": np.zeros((10, 3))}).origins), 10, 3), 20.0)
    forecast[0] = 28.0
    price = panel.price.copy()
    price[forecasts_of(panel, {"tft": forecast}).origins[0] + 10 :] *= 1.01
    found = traded(replace(panel, price=price), forecast + np.array([-1.0, 0.0, 1.0])).break_even
    at_15, at_25 = np.searchsorted(found.cost_bps, [15.0, 25.0])
    assert found.net_bps[at_15] < 0 < found.net_bps[at_25]
    assert found.break_even_bps is not None
    assert found.break_even_bps < 15


def test_the_mean_of_a_round_trip_has_the_sign_of_what_was_earned() -> None:
    panel = price_panel(random_walk(2000, 3), spread_bps=0.0)
    found = traded(panel, 0.2 * perfect(panel), fee_bps=1.0)
    assert found.per_trade is not None
    assert np.ptp(found.trades.size) > 0.5
    assert float(found.per_trade.value) == pytest.approx(found.trades.mean(found.trades.net_bps))
    earned_pct = float(found.per_trade.value) * found.trades.size.sum() / 10 / 100
    assert earned_pct == pytest.approx(found.performance.net_pct)


def test_too_much_latency_is_refused() -> None:
    panel = price_panel(random_walk(300, 1))
    with pytest.raises(UsageError, match=r"--latency-ms 600000: expected a fill before the exit after 10 buckets"):
        traded(panel, np.zeros((10, 3)), latency_ms=600_000)
