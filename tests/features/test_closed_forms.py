"""Markets so regular that their features are known in closed form, through the whole chain: raw, clean, features.

Each minute k somebody buys three units and sells one, n_k times over, at a spread of one tick; then the whole book
moves up by n_k ticks in one message. Every level holds Q.
"""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from midas_ray.storage import Storage
from tests.features.raw_market import SYMBOL, VENUE, make_features, reconstruct
from tests.reconstruct.market import START_MS, Market

MINUTES = 130
TICK = 0.1
Q = 2.0
ROUNDS = [1 + k % 5 for k in range(MINUTES)]
"""n_k: three in the mean, so that a volume bucket of five minutes holds whole rounds."""
LEVELS = 12


class Regular(Market):
    """`minute(n)` is a minute of the market; prices are in ticks."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.best_bid = 5000
        self.bids = {self.best_bid - level: 2000 for level in range(LEVELS)}
        self.asks = {self.best_bid + 1 + level: 2000 for level in range(LEVELS)}

    def message(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        previous, self.last_id = self.last_id, self.last_id + 1
        data = {"e": "depthUpdate", "E": self.now_ms, "T": self.now_ms, "s": "BTCUSDT", "U": self.last_id}
        sides = {"b": [self._level(*each) for each in bids.items()], "a": [self._level(*each) for each in asks.items()]}
        self.frame("depth@100ms", data | {"u": self.last_id, "pu": previous, **sides, "st": 1})

    def print(self, bought: bool) -> None:
        self.trade_id += 1
        px = self.best_bid + 1 if bought else self.best_bid
        data = {"e": "trade", "E": self.now_ms, "T": self.now_ms, "s": "BTCUSDT", "t": self.trade_id, "X": "MARKET"}
        self.frame("trade", data | {"p": f"{px / 10:.1f}", "q": "1.000", "m": not bought})

    def minute(self, rounds: int) -> None:
        start_ms = self.now_ms
        for second in range(60):
            self.now_ms = start_ms + 1000 * second + 500
            if 5 <= second < 5 + 4 * rounds:
                self.print(bought=(second - 5) % 4 != 3)
            if second == 55:
                self._move(rounds)
            else:
                self.message({}, {})
        self.now_ms = start_ms + 60_000

    def _move(self, ticks: int) -> None:
        old = self.bids.keys(), self.asks.keys()
        self.best_bid += ticks
        self.bids = {self.best_bid - level: 2000 for level in range(LEVELS)}
        self.asks = {self.best_bid + 1 + level: 2000 for level in range(LEVELS)}
        self.message(dict.fromkeys(old[0], 0) | self.bids, dict.fromkeys(old[1], 0) | self.asks)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    root = tmp_path_factory.mktemp("regular")
    market = Regular(root)
    market.open()
    market.snapshot()
    for rounds in ROUNDS:
        market.minute(rounds)
    market.message({}, {})
    market.close()
    reconstruct(root)
    make_features(root)
    storage = Storage(str(root))
    paths = storage.list_files(f"features/venue={VENUE}/symbol={SYMBOL}", ".parquet")
    frame = pl.concat([pl.DataFrame(storage.read_parquet(path)) for path in paths]).sort("ts")
    minutes = (frame["ts"].dt.epoch("ms") - START_MS) // 60_000
    return frame.with_columns(minute=minutes - 1).filter(pl.col("minute").is_between(1, MINUTES - 1))


def values(features: pl.DataFrame, name: str, from_minute: int = 1) -> np.ndarray:
    return features.filter(pl.col("minute") >= from_minute)[name].to_numpy()


def rounds(from_minute: int = 1) -> np.ndarray:
    return np.array(ROUNDS[from_minute:])


def mids() -> np.ndarray:
    """Mid at the start of each minute, and at the end of the last one."""
    return 500.05 + TICK * np.concatenate([[0], np.cumsum(ROUNDS)])


def test_bars_are_those_of_the_prints(features: pl.DataFrame) -> None:
    n, ask = rounds(), mids()[1:-1] + TICK / 2
    assert values(features, "volume").tolist() == (4.0 * n).tolist()
    assert values(features, "number_of_trades").tolist() == (4.0 * n).tolist()
    assert values(features, "taker_buy_volume").tolist() == (3.0 * n).tolist()
    np.testing.assert_allclose(values(features, "open"), ask, rtol=1e-12)
    np.testing.assert_allclose(values(features, "low"), ask - TICK, rtol=1e-12)


def test_order_flow_imbalance(features: pl.DataFrame) -> None:
    """Bids appear at a better price, asks are gone: + Q + Q at every level, however far the book moves."""
    assert values(features, "ofi").tolist() == [2 * Q] * (MINUTES - 1)
    assert values(features, "ofi_10", 11).tolist() == [20 * Q] * (MINUTES - 11)
    np.testing.assert_allclose(values(features, "ofi_normalized"), 2.0, rtol=1e-12)
    np.testing.assert_allclose(values(features, "ofi_multilevel"), 2.0, rtol=1e-12)


def test_kyles_lambda(features: pl.DataFrame) -> None:
    """A net purchase of 2 n_k units moves the price by n_k ticks."""
    np.testing.assert_allclose(values(features, "kyle_lambda", 31), TICK / 2, rtol=1e-9)


def test_vpin(features: pl.DataFrame) -> None:
    """Of every four units three are bought and one is sold: |3 - 1| / 4."""
    assert values(features, "vpin", 61).tolist() == [0.5] * (MINUTES - 61)


def test_realised_volatility_is_the_one_move(features: pl.DataFrame) -> None:
    moves = np.log(mids()[2:] / mids()[1:-1])
    np.testing.assert_allclose(values(features, "realized_volatility"), moves, rtol=1e-9)
    np.testing.assert_allclose(values(features, "returns"), moves, rtol=1e-9)


def test_roll_spread(features: pl.DataFrame) -> None:
    """Price changes are 0, 0, -S, +S over and over: of n rounds, 4 n - 2 pairs hold n - 1 of -S +S."""
    expected = []
    for n in rounds().tolist():
        changes = ([0, 0, -TICK, TICK] * n)[: 4 * n - 1]
        covariance = np.cov(changes[1:], changes[:-1])[0, 1]
        expected.append(2 * math.sqrt(max(0.0, -covariance)))
    np.testing.assert_allclose(values(features, "roll_spread"), expected, rtol=1e-9, atol=1e-12)


def test_spreads(features: pl.DataFrame) -> None:
    """Every print is half a tick from the mid."""
    mid = mids()[1:-1]
    np.testing.assert_allclose(values(features, "effective_spread_bps"), 1e4 * TICK / mid, rtol=1e-9)
    np.testing.assert_allclose(values(features, "spread"), TICK, rtol=1e-9)
