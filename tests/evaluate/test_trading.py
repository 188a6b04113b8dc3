from dataclasses import replace

import numpy as np
import pytest

from midas_ray.evaluate import trading
from midas_ray.evaluate.trading import Equity, equity, max_drawdown_pct, net_return_bps, run_strategy, sharpe_ratio
from tests.dataset.synthetic import BUCKET_US, START_US, take
from tests.evaluate.markets import price_panel, random_walk

DAY_US = 86_400_000_000


def test_fills_by_hand_long() -> None:
    panel = price_panel(np.array([100.0, 101.0, 102.0, 103.0, 104.0]), spread_bps=20.0)
    trades = run_strategy(panel, np.array([0]), np.array([50.0]), 3, fee_bps=5.0, threshold_bps=0.0)
    assert trades.side.tolist() == [1]
    assert (trades.entry_row[0], trades.exit_row[0]) == (1, 3)
    assert trades.entry_px[0] == pytest.approx(101 * 1.001)  # the ask of the next bucket
    assert trades.exit_px[0] == pytest.approx(103 * 0.999)  # the bid at the horizon
    ratio = 103 * 0.999 / (101 * 1.001)
    assert trades.net_bps[0] == pytest.approx(1e4 * (ratio - 1) - 5 - 5 * ratio)
    assert trades.gross_bps[0] == pytest.approx(1e4 * (103 / 101 - 1))


def test_fills_by_hand_short() -> None:
    panel = price_panel(np.array([100.0, 101.0, 102.0, 103.0, 104.0]), spread_bps=20.0)
    trades = run_strategy(panel, np.array([0]), np.array([-50.0]), 3, fee_bps=5.0, threshold_bps=0.0)
    assert trades.side.tolist() == [-1]
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
    trades = run_strategy(panel, np.array([0]), np.array([11.0]), 3, fee_bps=5.0, threshold_bps=0.0)
    assert (trades.entry_px[0], trades.exit_px[0]) == (101.0, 103.0)
    assert len(run_strategy(panel, np.array([0]), np.array([9.9]), 3, fee_bps=5.0, threshold_bps=0.0)) == 0


@pytest.mark.parametrize(("median", "threshold", "expected"), [(12.1, 0.0, 1), (11.9, 0.0, 0), (12.1, 1.0, 0)])
def test_a_trade_must_beat_two_fees_the_spread_and_the_threshold(
    median: float, threshold: float, expected: int
) -> None:
    panel = price_panel(np.full(8, 100.0), spread_bps=2.0)
    trades = run_strategy(panel, np.array([0]), np.array([median]), 3, fee_bps=5.0, threshold_bps=threshold)
    assert len(trades) == expected


def test_positions_of_a_symbol_never_overlap_and_symbols_trade_apart() -> None:
    panel = price_panel(np.concatenate([random_walk(100, 0), random_walk(100, 1)]), symbols=2)
    rows = np.arange(80)
    origins = np.stack([rows, rows + 100], axis=1).ravel()
    trades = run_strategy(panel, origins, np.full(160, 90.0), 10, fee_bps=1.0, threshold_bps=0.0)
    for first in (0, 100):
        own = (trades.entry_row >= first) & (trades.entry_row < first + 100)
        assert trades.entry_row[own].tolist() == [first + k for k in range(1, 80, 10)]
        assert (trades.entry_row[own][1:] > trades.exit_row[own][:-1]).all()
    assert trades.signals == 160
    assert (np.diff(panel.ts_us[trades.entry_row]) >= 0).all()


def test_no_fill_without_a_quote() -> None:
    panel = price_panel(np.full(12, 100.0))
    bid, ask = panel.bid.copy(), panel.ask.copy()
    bid[1] = ask[1] = np.nan
    panel = replace(panel, bid=bid, ask=ask)
    trades = run_strategy(panel, np.array([0, 4]), np.array([90.0, 90.0]), 3, fee_bps=1.0, threshold_bps=0.0)
    assert trades.entry_row.tolist() == [5]
    assert trades.unfilled == 1


def test_a_decision_without_a_quote_is_none() -> None:
    panel = price_panel(np.full(12, 100.0))
    panel = replace(panel, bid=np.where(np.arange(12) == 0, np.nan, panel.bid))
    assert len(run_strategy(panel, np.array([0]), np.array([90.0]), 3, fee_bps=1.0, threshold_bps=0.0)) == 0


def test_the_future_changes_no_fill() -> None:
    rng = np.random.default_rng(5)
    panel = price_panel(random_walk(600, 5))
    origins, median = np.arange(20, 580), rng.normal(0, 12, 560)
    whole = run_strategy(panel, origins, median, 10, 5.0, 0.0)
    cut = 300
    known = origins + 10 < cut
    part = run_strategy(take(panel, np.arange(cut)), origins[known], median[known], 10, 5.0, 0.0)
    early = whole.exit_row < cut
    assert early.sum() > 5
    for name in ("entry_row", "exit_row", "side", "entry_px", "exit_px", "net_bps"):
        np.testing.assert_array_equal(getattr(whole, name)[early], getattr(part, name))


def test_equity_ends_at_the_sum_of_results_and_holds_beside() -> None:
    price = np.concatenate([random_walk(200, 1), random_walk(200, 2)])
    panel = price_panel(price, symbols=2)
    rows = np.arange(10, 180)
    origins = np.stack([rows, rows + 200], axis=1).ravel()
    median = np.random.default_rng(0).normal(0, 12, len(origins))
    trades = run_strategy(panel, origins, median, 10, 5.0, 0.0)
    curve = equity(panel, origins, trades, 10, 5.0)
    assert len(trades) > 10
    assert curve.net_pct[-1] == pytest.approx(trades.net_bps.sum() / 100 / 2)
    assert curve.gross_pct[-1] == pytest.approx(trades.gross_bps.sum() / 100 / 2)
    expected = 100 * np.mean([price[189] / price[10], price[389] / price[210]]) - 100
    assert curve.hold_pct[-1] == pytest.approx(expected)
    assert curve.hold_pct[0] == 0
    assert curve.net_pct[-1] < curve.gross_pct[-1]


def test_an_open_position_is_marked_between_entry_and_exit() -> None:
    panel = price_panel(np.array([100.0, 100.0, 110.0, 105.0, 105.0]), spread_bps=0.0)
    trades = run_strategy(panel, np.array([0]), np.array([50.0]), 3, fee_bps=10.0, threshold_bps=0.0)
    curve = equity(panel, np.array([0, 1]), trades, 3, fee_bps=10.0)
    # the entry fee; 10 % up; closed 5 % up, less a fee on 105; flat
    np.testing.assert_allclose(curve.net_pct, [0.0, -0.1, 9.9, 4.795, 4.795], atol=1e-9)


def test_a_horizon_of_one_bucket_cannot_be_traded() -> None:
    panel = price_panel(np.full(5, 100.0))
    with pytest.raises(ValueError, match="at least 2 buckets"):
        run_strategy(panel, np.array([0]), np.array([50.0]), 1, 1.0, 0.0)


def test_drawdown_by_hand() -> None:
    assert max_drawdown_pct(np.array([1.0, 3.0, 0.5, 2.0, 4.0, 3.0])) == pytest.approx(2.5)
    assert max_drawdown_pct(np.array([-1.0, -2.0])) == pytest.approx(2.0)
    assert max_drawdown_pct(np.array([0.0, 1.0])) == 0


def _daily(returns_pct: np.ndarray) -> Equity:
    ts_us = START_US + DAY_US * np.arange(len(returns_pct)) + BUCKET_US
    curve = np.cumsum(returns_pct)
    return Equity(ts_us=ts_us, net_pct=curve, gross_pct=curve, hold_pct=curve)


def test_sharpe_needs_thirty_days() -> None:
    returns = np.tile([0.3, -0.1], 15)
    expected = returns.mean() / returns.std(ddof=1) * np.sqrt(365)
    assert sharpe_ratio(_daily(returns)) == pytest.approx(expected)
    assert sharpe_ratio(_daily(returns[:29])) is None
    assert sharpe_ratio(_daily(np.zeros(40))) is None
    assert trading.days(_daily(returns)) == 30
