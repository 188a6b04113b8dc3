"""The stylised facts of simulated history, through the project's own reconstruct, within what the captures show.

Bounds are from `benchmarks.market`: the captures of btcusdt and ethusdt futures, and twenty simulated hours of each.
"""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.clean import Capture
from benchmarks.market import simulated
from midas_ray.simulate.market import Market
from midas_ray.simulate.symbols import spec_of

SYMBOLS = {"btcusdt": (11, 0.1, 20.0), "ethusdt": (12, 0.01, 40.0)}
START_US = 1_767_571_200_000_000  # 2026-01-05 00:00 UTC


@pytest.fixture(scope="module", params=SYMBOLS)
def facts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """An hour around noon."""
    seed, tick, level_changes = SYMBOLS[request.param]
    folder: Path = tmp_path_factory.mktemp("facts")
    return simulated(folder, Capture("binance-futures", request.param, "", tick), seed, 3600.0, level_changes)


def test_order_flow_explains_returns_as_in_the_captures(facts: dict[str, float]) -> None:
    """Cont, Kukanov and Stoikov: captures 0.45 to 0.51 at 1 s, 0.58 to 0.67 at 10 s."""
    assert 0.40 < facts["OFI-return R^2 at 1 s"] < 0.55
    assert 0.55 < facts["OFI-return R^2 at 10 s"] < 0.85


def test_spread_is_mostly_one_tick_and_the_best_queue_towers(facts: dict[str, float]) -> None:
    assert facts["spread of one tick, share"] > 0.95
    assert 0.65 < facts["best size, median / mean"] < 0.92
    assert 2.5 < facts["best size, 99 % / mean"] < 6
    assert facts["size at level 2 / best"] < 0.25
    assert 2 < facts["level 2, ticks from the best"] < 10


def test_the_price_rests_and_leaps_without_a_trend(facts: dict[str, float]) -> None:
    assert 0.02 < facts["mid changes in 100 ms, share"] < 0.4
    assert facts["kurtosis of 1 s returns"] > 4.5
    assert 0.7 < facts["variance ratio 10 s / 1 s"] < 1.6
    assert 1.0 < facts["volatility, bps a minute"] < 20.0


def test_volatility_clusters(facts: dict[str, float]) -> None:
    assert facts["|return| over 1 s, autocorrelation 1"] > 0.05
    assert facts["|return| over 1 s, autocorrelation 10"] > 0.02
    assert facts["|return| over 10 s, autocorrelation 1"] > 0.03


def test_market_orders_come_in_bursts_of_one_sign(facts: dict[str, float]) -> None:
    assert facts["orders in 1 s, variance / mean"] > 2.5
    assert facts["orders in 1 s, autocorrelation 1"] > 0.12
    assert facts["waits, deviation / mean"] > 1.25
    assert facts["sign of orders, autocorrelation 1"] > 0.08
    assert facts["sign of orders, autocorrelation 10"] > 0.015


def test_sizes_have_heavy_tails(facts: dict[str, float]) -> None:
    assert facts["order, median / mean"] < 0.25
    assert facts["print, median / mean"] < 0.2
    assert facts["print, 99 % / mean"] > 10
    assert facts["order, tail exponent"] < 3


def test_the_price_stays_positive_where_it_is_low() -> None:
    spec = dataclasses.replace(spec_of("nexousdt"), start_ticks=205)
    market = Market(spec, 5, START_US, level_changes=100.0)
    lowest = spec.start_ticks
    for second in range(1, 601):
        done = False
        while not done:
            log, done = market.advance(START_US + second * 1_000_000)
            if len(log.changes):
                assert log.changes[:, 3].min() > 0
        lowest = min(lowest, int(market.snapshot(1).bids[0, 0]))
    assert 0 < lowest < spec.start_ticks
