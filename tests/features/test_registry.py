"""The registry against the table of the specification."""

from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_NAMES, FEATURES, POSITION
from midas_ray.features.table import FUNCTIONS

_TABLE = """
open high low close volume quote_volume vwap number_of_trades
taker_buy_volume taker_sell_volume signed_volume volume_imbalance mean_trade_size trade_sign_autocorr whale_volume
whale_signed_volume
midprice microprice microprice_offset_bps spread spread_bps spread_bps_mean
liquidity_bid_1 liquidity_bid_5 liquidity_bid_10 liquidity_ask_1 liquidity_ask_5 liquidity_ask_10
liquidity_1 liquidity_5 liquidity_10
imbalance_1 imbalance_5 imbalance_10 imbalance_1_mean imbalance_5_mean imbalance_10_mean
queue_imb_2 queue_imb_3 queue_imb_4 queue_imb_5
bid_ladder_slope ask_ladder_slope bid_slope_ratio ask_slope_ratio cost_to_buy_bps cost_to_sell_bps
ofi ofi_10 ofi_cumulative ofi_normalized ofi_multilevel
returns returns_5 volatility_20 volatility_100 vol_of_vol realized_volatility bipower_variation parkinson_volatility
garman_klass_volatility
kyle_lambda vpin amihud_illiquidity roll_spread effective_spread_bps
funding_rate basis_bps liquidation_buy_volume liquidation_sell_volume
hour_sin hour_cos
"""
SPECIFIED = _TABLE.split()


def test_names_and_order_are_those_of_the_specification() -> None:
    assert list(FEATURE_NAMES) == SPECIFIED
    assert len(FEATURES) == 72
    assert all(FEATURES[POSITION[name]].name == name for name in SPECIFIED)


def test_exact_sums_of_others_are_marked() -> None:
    redundant = [FEATURE_NAMES.index(feature.name) + 1 for feature in FEATURES if feature.redundant]
    assert redundant == [5, 11, 29, 30, 31]


def test_scalers_are_those_of_the_specification() -> None:
    numbers: dict[str, list[int]] = {}
    for number, feature in enumerate(FEATURES, start=1):
        numbers.setdefault(feature.scaler, []).append(number)
    assert numbers["price_bps"] == [1, 2, 3, 4, 7, 17, 18]
    assert numbers["log_robust"] == [20, *range(55, 62), 64, 65]
    assert numbers["asinh_robust"] == [11, 16, 48, 49, 50, 62]
    assert numbers["none"] == [71, 72]


def test_only_the_cumulative_flow_is_no_model_input() -> None:
    assert [feature.name for feature in FEATURES if not feature.model_input] == ["ofi_cumulative"]


def test_bounds_hold_neutrals() -> None:
    for feature in FEATURES:
        assert feature.lower < feature.upper
        if isinstance(feature.neutral, float):
            assert feature.lower <= feature.neutral <= feature.upper


def test_null_kinds_fit_one_byte() -> None:
    assert [int(kind) for kind in NullKind] == [0, 1, 2, 3]


def test_every_feature_is_one_documented_function_of_its_family() -> None:
    assert list(FUNCTIONS) == SPECIFIED
    for feature in FEATURES:
        function = FUNCTIONS[feature.name]
        assert function.__module__ == f"midas_ray.features.{feature.family}"
        assert len((function.__doc__ or "").strip()) > 20, feature.name
