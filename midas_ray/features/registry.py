"""The 72 features of schema version 1: name, family, unit, bounds, inputs, lookback, null and scaling rules, once.

The order is that of the columns and of the bytes in `null_kinds`. Formula and source stand in the docstring of the
function of the same name in `midas_ray/features/<family>.py`.
"""

import math
from dataclasses import dataclass
from typing import Literal

FEATURE_SCHEMA_VERSION = 1

Stream = Literal["price", "book", "trade", "mark", "liquidation"]
Scaler = Literal["price_bps", "log1p_robust", "asinh_robust", "log_robust", "standard", "none"]
Neutral = float | Literal["midprice"] | None

_INF = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What every stage needs to know of one feature."""

    name: str
    family: str
    """Also the module that computes it."""
    unit: str
    """`quote`, `base`, `bps`, `1`, ..."""
    lower: float = -_INF
    """Smallest possible value, inclusive."""
    upper: float = _INF
    """Largest possible value, inclusive."""
    inputs: tuple[Stream, ...]
    """Streams it needs; `price` is the reference price P (midprice, or close without a book)."""
    lookback: int = 1
    """Buckets, this one included, whose data it can depend on."""
    lookback_s: int = 0
    """Seconds before the bucket's start that it can depend on, beside `lookback`."""
    min_obs: int = 1
    """Covered buckets needed in the window (whale_*, cost_*: covered minutes; vpin: complete volume buckets)."""
    neutral: Neutral = None
    """What stands for an undefined value in a model: a number, `midprice` (the row's P), None (the scaler's center)."""
    scaler: Scaler = "standard"
    redundant: bool = False
    """An exact sum of other features: left out of linear baselines."""
    model_input: bool = True
    known_in_advance: bool = False


def _bars() -> list[Feature]:
    def price(name: str) -> Feature:
        return Feature(
            name=name, family="bars", unit="quote", lower=0.0, inputs=("trade",), neutral="midprice",
            scaler="price_bps",
        )  # fmt: skip

    def total(name: str, unit: str, redundant: bool = False) -> Feature:
        return Feature(
            name=name, family="bars", unit=unit, lower=0.0, inputs=("trade",), scaler="log1p_robust",
            redundant=redundant,
        )  # fmt: skip

    return [
        *map(price, ("open", "high", "low", "close")),
        total("volume", "base", redundant=True),
        total("quote_volume", "quote"),
        price("vwap"),
        total("number_of_trades", "1"),
    ]


def _trade_flow() -> list[Feature]:
    def flow(
        name: str,
        unit: str,
        scaler: Scaler,
        lower: float = -_INF,
        upper: float = _INF,
        neutral: Neutral = None,
        redundant: bool = False,
    ) -> Feature:
        return Feature(
            name=name, family="trade_flow", unit=unit, lower=lower, upper=upper, inputs=("trade",),
            neutral=neutral, scaler=scaler, redundant=redundant,
        )  # fmt: skip

    def whale(name: str, scaler: Scaler, lower: float) -> Feature:
        return Feature(
            name=name, family="trade_flow", unit="base", lower=lower, inputs=("trade",), lookback_s=86400,
            min_obs=60, scaler=scaler,
        )  # fmt: skip

    return [
        flow("taker_buy_volume", "base", "log1p_robust", lower=0.0),
        flow("taker_sell_volume", "base", "log1p_robust", lower=0.0),
        flow("signed_volume", "base", "asinh_robust", redundant=True),
        flow("volume_imbalance", "1", "standard", -1.0, 1.0, neutral=0.0),
        flow("mean_trade_size", "base", "log1p_robust", lower=0.0),
        flow("trade_sign_autocorr", "1", "standard", -1.0, 1.0, neutral=0.0),
        whale("whale_volume", "log1p_robust", 0.0),
        whale("whale_signed_volume", "asinh_robust", -_INF),
    ]


def _top_of_book() -> list[Feature]:
    def top(name: str, unit: str, scaler: Scaler, lower: float = 0.0, neutral: Neutral = None) -> Feature:
        return Feature(
            name=name, family="top_of_book", unit=unit, lower=lower, inputs=("book",), neutral=neutral, scaler=scaler
        )

    return [
        top("midprice", "quote", "price_bps", neutral="midprice"),
        top("microprice", "quote", "price_bps", neutral="midprice"),
        top("microprice_offset_bps", "bps", "standard", lower=-_INF, neutral=0.0),
        top("spread", "quote", "log_robust"),
        top("spread_bps", "bps", "standard"),
        top("spread_bps_mean", "bps", "standard"),
    ]


def _liquidity() -> list[Feature]:
    return [
        Feature(
            name=f"liquidity_{side}{levels}", family="liquidity", unit="base", lower=0.0, inputs=("book",),
            scaler="log1p_robust", redundant=side == "",
        )
        for side in ("bid_", "ask_", "")
        for levels in (1, 5, 10)
    ]  # fmt: skip


def _imbalance() -> list[Feature]:
    names = [f"imbalance_{levels}{suffix}" for suffix in ("", "_mean") for levels in (1, 5, 10)]
    return [
        Feature(
            name=name, family="imbalance", unit="1", lower=-1.0, upper=1.0, inputs=("book",), neutral=0.0
        )
        for name in [*names, *(f"queue_imb_{level}" for level in range(2, 6))]
    ]  # fmt: skip


def _book_shape() -> list[Feature]:
    def shape(name: str) -> Feature:
        return Feature(name=name, family="book_shape", unit="1", inputs=("book",), neutral=0.0)

    def cost(name: str) -> Feature:
        return Feature(
            name=name, family="book_shape", unit="bps", lower=0.0, inputs=("book",), lookback_s=172800, min_obs=60
        )

    return [
        *map(shape, ("bid_ladder_slope", "ask_ladder_slope", "bid_slope_ratio", "ask_slope_ratio")),
        cost("cost_to_buy_bps"),
        cost("cost_to_sell_bps"),
    ]


def _order_flow() -> list[Feature]:
    def flow(
        name: str, unit: str, scaler: Scaler, lookback: int = 1, lookback_s: int = 0, model_input: bool = True
    ) -> Feature:
        return Feature(
            name=name, family="order_flow", unit=unit, inputs=("book",), lookback=lookback, lookback_s=lookback_s,
            min_obs=lookback, neutral=0.0, scaler=scaler, model_input=model_input,
        )  # fmt: skip

    return [
        flow("ofi", "base", "asinh_robust"),
        flow("ofi_10", "base", "asinh_robust", lookback=10),
        flow("ofi_cumulative", "base", "asinh_robust", lookback_s=86400, model_input=False),
        flow("ofi_normalized", "1", "standard"),
        flow("ofi_multilevel", "1", "standard"),
    ]


def _volatility() -> list[Feature]:
    def change(name: str, buckets: int) -> Feature:
        return Feature(
            name=name, family="volatility", unit="1", inputs=("price",), lookback=buckets + 1, min_obs=buckets + 1,
            neutral=0.0,
        )  # fmt: skip

    def spread_of(name: str, inputs: tuple[Stream, ...], lookback: int = 1, min_obs: int = 1) -> Feature:
        return Feature(
            name=name, family="volatility", unit="1", lower=0.0, inputs=inputs, lookback=lookback, min_obs=min_obs,
            scaler="log_robust",
        )  # fmt: skip

    return [
        change("returns", 1),
        change("returns_5", 5),
        spread_of("volatility_20", ("price",), 21, 10),
        spread_of("volatility_100", ("price",), 101, 30),
        spread_of("vol_of_vol", ("price",), 70, 20),
        spread_of("realized_volatility", ("book",), 2),
        spread_of("bipower_variation", ("book",), 2),
        spread_of("parkinson_volatility", ("trade",)),
        spread_of("garman_klass_volatility", ("trade",)),
    ]


def _impact() -> list[Feature]:
    return [
        Feature(
            name="kyle_lambda", family="impact", unit="quote/base", inputs=("price", "trade"), lookback=101,
            min_obs=30, neutral=0.0, scaler="asinh_robust",
        ),
        Feature(
            name="vpin", family="impact", unit="1", lower=0.0, upper=1.0, inputs=("trade",), lookback_s=172800,
            min_obs=10,
        ),
        Feature(
            name="amihud_illiquidity", family="impact", unit="1/quote", lower=0.0, inputs=("price", "trade"),
            lookback=21, min_obs=10, scaler="log_robust",
        ),
        Feature(
            name="roll_spread", family="impact", unit="quote", lower=0.0, inputs=("trade",), neutral=0.0,
            scaler="log_robust",
        ),
        Feature(name="effective_spread_bps", family="impact", unit="bps", inputs=("book", "trade"), neutral=0.0),
    ]  # fmt: skip


def _derivatives() -> list[Feature]:
    def forced(name: str) -> Feature:
        return Feature(
            name=name, family="derivatives", unit="base", lower=0.0, inputs=("mark", "liquidation"),
            scaler="log1p_robust",
        )  # fmt: skip

    return [
        Feature(name="funding_rate", family="derivatives", unit="1", inputs=("mark",)),
        Feature(name="basis_bps", family="derivatives", unit="bps", inputs=("mark",)),
        forced("liquidation_buy_volume"),
        forced("liquidation_sell_volume"),
    ]


def _calendar() -> list[Feature]:
    return [
        Feature(
            name=name, family="calendar", unit="1", lower=-1.0, upper=1.0, inputs=(), scaler="none",
            known_in_advance=True,
        )
        for name in ("hour_sin", "hour_cos")
    ]  # fmt: skip


FEATURES: tuple[Feature, ...] = (
    *_bars(),
    *_trade_flow(),
    *_top_of_book(),
    *_liquidity(),
    *_imbalance(),
    *_book_shape(),
    *_order_flow(),
    *_volatility(),
    *_impact(),
    *_derivatives(),
    *_calendar(),
)
"""All features, in column order."""

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

POSITION: dict[str, int] = {name: position for position, name in enumerate(FEATURE_NAMES)}
"""Column (and byte of `null_kinds`) of each feature."""
