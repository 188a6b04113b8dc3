"""The market model: seeded, independent of how it is cut, and consistent with one true book."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.simulate import market_kernel as k
from midas_ray.simulate.market import EventLog, Market, seed_of
from midas_ray.simulate.symbols import spec_of

START_US = 1_767_571_200_000_000  # 2026-01-05 00:00 UTC


def run(market: Market, until_us: int) -> EventLog:
    """Everything before `until_us`, however often the log fills up."""
    logs, done = [], False
    while not done:
        view, done = market.advance(until_us)
        logs.append([view.changes.copy(), view.trades.copy(), view.forced.copy(), view.steps.copy()])
    return EventLog(*(np.concatenate(parts) for parts in zip(*logs, strict=True)))


def market_of(symbol: str = "btcusdt", seed: int = 3, **options: object) -> Market:
    return Market(spec_of(symbol), seed, START_US, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ten_minutes() -> tuple[Market, EventLog]:
    market = market_of()
    return market, run(market, START_US + 600_000_000)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 3_000_000), max_size=6))
def test_same_market_however_it_is_cut(cuts_us: list[int]) -> None:
    whole = run(market_of(), START_US + 3_000_001)
    market, changes, trades = market_of(), [], []
    for cut_us in [*sorted(cuts_us), 3_000_001]:
        log = run(market, START_US + cut_us)
        changes.append(log.changes)
        trades.append(log.trades)
    assert np.array_equal(np.concatenate(changes), whole.changes)
    assert np.array_equal(np.concatenate(trades), whole.trades)


def test_a_full_log_loses_nothing() -> None:
    whole = run(market_of(), START_US + 20_000_000)
    pieces = run(market_of(log_rows=4 * k.ROOM), START_US + 20_000_000)
    assert np.array_equal(whole.changes, pieces.changes)
    # Counts within a step row are relative to the log it is in; the true state beside them is not.
    assert np.array_equal(whole.steps[:, k.S_LAST_ID :], pieces.steps[:, k.S_LAST_ID :])


def test_seed_and_symbol_make_the_market() -> None:
    def first(symbol: str, seed: int) -> bytes:
        return run(market_of(symbol, seed), START_US + 2_000_000).changes.tobytes()

    assert first("btcusdt", 3) == first("btcusdt", 3)
    assert len({first("btcusdt", 3), first("btcusdt", 4), first("solusdt", 3), first("bnbusdt", 3)}) == 4
    assert seed_of(1, "btcusdt", "market") != seed_of(1, "btcusdt", "latency")


def test_changes_replay_to_the_recorded_tops(ten_minutes: tuple[Market, EventLog]) -> None:
    _, log = ten_minutes
    first = market_of().snapshot(1 << 20)
    sides = [dict(first.bids.tolist()), dict(first.asks.tolist())]
    row = 0
    last_row = np.cumsum(np.diff(log.steps[:, k.S_CHANGES], prepend=0).clip(0))
    for step, stop in zip(log.steps[:200], last_row[:200], strict=True):
        while row < stop:
            change = log.changes[row]
            sides[change[k.C_SIDE]][change[k.C_TICK]] = change[k.C_LOTS]
            if not change[k.C_LOTS]:
                del sides[change[k.C_SIDE]][change[k.C_TICK]]
            row += 1
        for side, (best, direction) in enumerate(((max, -1), (min, 1))):
            ticks = sorted(sides[side], key=lambda tick: direction * tick)[: k.TOP_LEVELS]
            block = k.S_TOP + 2 * side * k.TOP_LEVELS
            assert step[block : block + k.TOP_LEVELS].tolist() == ticks
            assert step[block + k.TOP_LEVELS : block + 2 * k.TOP_LEVELS].tolist() == [sides[side][t] for t in ticks]
            assert best(sides[side]) == ticks[0]
        assert step[k.S_LAST_ID] == (log.changes[row - 1, k.C_ID] if row else first.last_update_id)


def test_book_is_never_crossed_and_mostly_one_tick_wide(ten_minutes: tuple[Market, EventLog]) -> None:
    _, log = ten_minutes
    spread = log.changes[:, k.C_ASK] - log.changes[:, k.C_BID]
    assert spread.min() >= 1
    step_spread = log.steps[:, k.S_TOP + 2 * k.TOP_LEVELS] - log.steps[:, k.S_TOP]
    assert (step_spread == 1).mean() > 0.9


def test_ids_and_times_rise_and_ids_are_sparse(ten_minutes: tuple[Market, EventLog]) -> None:
    _, log = ten_minutes
    gaps = np.diff(log.changes[:, k.C_ID])
    assert gaps.min() >= 1
    assert 20 < gaps.mean() < 120
    assert np.diff(log.changes[:, k.C_US]).min() >= 0
    assert np.all(np.diff(log.trades[:, k.T_ID]) == 1)
    spot = run(market_of(futures=False), START_US + 60_000_000)
    assert np.all(np.diff(spot.changes[:, k.C_ID]) == 1)
    assert set(spot.trades[:, k.T_KIND]) == {k.MARKET}
    assert len(spot.forced) == 0


def test_every_print_takes_from_the_side_its_taker_hits(ten_minutes: tuple[Market, EventLog]) -> None:
    """Prints of one order at one price add up to what left that level in the same microsecond."""
    _, log = ten_minutes
    first = market_of().snapshot(1 << 20)
    sizes = {(0, tick): lots for tick, lots in first.bids.tolist()}
    sizes |= {(1, tick): lots for tick, lots in first.asks.tolist()}
    taken: dict[tuple[int, int, int], int] = {}
    for row in log.changes.tolist():
        key = (row[k.C_SIDE], row[k.C_TICK])
        taken[row[k.C_US], *key] = taken.get((row[k.C_US], *key), 0) + sizes.get(key, 0) - row[k.C_LOTS]
        sizes[key] = row[k.C_LOTS]
    printed: dict[tuple[int, int, int], int] = {}
    for _, t_us, tick, lots, sells, kind, _ in log.trades.tolist():
        if kind == k.MARKET:
            key3 = (t_us, 0 if sells else 1, tick)
            printed[key3] = printed.get(key3, 0) + lots
    assert len(printed) > 100
    assert all(taken[key] == lots for key, lots in printed.items())
    assert {side for _, side, _ in printed} == {0, 1}


def test_forced_orders_are_the_prints_of_their_moment() -> None:
    busy_us = START_US + 14 * 3_600_000_000
    log = run(Market(spec_of("ethusdt"), 3, busy_us), busy_us + 1_200_000_000)
    assert len(log.forced) > 2
    assert np.diff(log.forced[:, k.F_US]).min() >= 1_000_000
    for t_us, sells, limit, lots, value in log.forced.tolist():
        hits = log.trades[(log.trades[:, k.T_US] == t_us) & (log.trades[:, k.T_KIND] == k.MARKET)]
        assert set(hits[:, k.T_SIDE].tolist()) == {sells}
        assert hits[:, k.T_LOTS].sum() == lots
        assert (hits[:, k.T_LOTS] * hits[:, k.T_TICK]).sum() == value
        assert hits[:, k.T_TICK].min() >= limit if sells else hits[:, k.T_TICK].max() <= limit


def test_snapshot_is_best_first_and_its_id_lies_before_the_next_change() -> None:
    market = market_of()
    run(market, START_US + 1_234_567)
    low, high = market.snapshot(5, 0.0), market.snapshot(1000, 0.999)
    following = run(market, START_US + 2_000_000).changes[0, k.C_ID]
    assert low.last_update_id <= high.last_update_id < following
    assert len(low.bids) == len(low.asks) == 5
    assert np.all(np.diff(high.bids[:, 0]) < 0)
    assert np.all(np.diff(high.asks[:, 0]) > 0)
    assert high.bids[:, 1].min() > 0
    assert market.snapshot(1 << 20).bids.shape[0] > 1000


def test_a_low_priced_symbol_keeps_positive_prices() -> None:
    market = market_of("solusdt")
    run(market, START_US + 60_000_000)
    assert market.snapshot(1 << 20).bids[:, 0].min() > 0


def test_level_changes_are_as_asked_and_volatility_follows_the_day() -> None:
    changes, moves = [], []
    for hour in (2, 14):
        start_us = START_US + hour * 3_600_000_000
        for seed in range(4):
            market = Market(spec_of("btcusdt"), seed, start_us)
            log = run(market, start_us + 300_000_000)
            mid = log.steps[:, [k.S_TOP, k.S_TOP + 2 * k.TOP_LEVELS]].mean(axis=1)
            moves.append((hour, np.diff(mid[::10]).std()))
            changes.append(len(log.changes) / len(log.steps))
    assert 14 < np.mean(changes) < 32
    quiet, busy = (np.mean([move for hour, move in moves if hour == wanted]) for wanted in (2, 14))
    assert busy > 1.4 * quiet
