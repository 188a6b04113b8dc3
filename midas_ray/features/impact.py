"""Impact and toxicity: what order flow does to prices. d = +1 where the taker bought, -1 where the taker sold.

Estimators over windows are a gap where the bucket's own P or trades are.
"""

import numpy as np

from midas_ray.features import kernels
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, change, column, divide, estimate
from midas_ray.features.statistics import limbs_to_ints
from midas_ray.features.trade_flow import signed_volume
from midas_ray.features.volatility import returns

_VPIN_WINDOW = 50
_VPIN_MIN_OBS = 10
_MIN_PRICES = 4


def kyle_lambda(b: Buckets) -> Column:
    """OLS slope, with intercept, of P_t - P_(t-D) on signed_volume over 100 buckets, quote/base (Kyle 1985); min_obs
    30.

    Undefined where signed_volume is constant.
    """
    moves, flow = change(b.price, 1, b.began, log=False), signed_volume(b)
    pairs = column(
        moves.values, gap=moves.gap | flow.gap, warm_up=moves.warming_up, undefined=~(moves.known & flow.known)
    )
    slope, used = kernels.window_slope(flow.values, moves.values, pairs.known, 100)
    return estimate(slope, used, pairs, 100, 30, gap=b.price.gap | flow.gap)


def vpin(b: Buckets) -> Column:
    """(1/n) sum of |V_buy - V_sell|/V over the last n <= 50 complete volume buckets at t, in [0, 1]; min_obs 10.

    Volume-synchronised probability of informed trading with true aggressor signs (Easley, Lopez de Prado and O'Hara
    2012); see `vpin` for the volume clock. Gap where trades of this bucket are; warm-up while V is not known or n < 10;
    undefined where V is 0.
    """
    clock = b.volume_buckets
    mean, used = kernels.volume_window(b.ts_us, clock.done_us, clock.share, _VPIN_WINDOW)
    unknown = b.ts_us < clock.known_from_us
    empty = np.full(len(b.ts_us), clock.empty)
    return column(mean, gap=b.trade_gap, warm_up=unknown | ((used < _VPIN_MIN_OBS) & ~empty), undefined=empty)


def amihud_illiquidity(b: Buckets) -> Column:
    """Mean over 20 buckets of |returns|/quote_volume, 1/quote, >= 0 (Amihud 2002); min_obs 10.

    Buckets without prints are left out: undefined where too few of the covered ones had any.
    """
    move, quote = returns(b), b.bars.quote_volume
    silent = quote.values == 0
    ratio = divide(np.abs(move.values), np.where(quote.known, quote.values, 0.0))
    observations = column(
        ratio, gap=move.gap | quote.gap, warm_up=move.warming_up, undefined=silent | ~(move.known & quote.known)
    )
    mean, used = kernels.window_mean(observations.values, observations.known, 20)
    return estimate(mean, used, observations, 20, 10, gap=b.price.gap | quote.gap)


def roll_spread(b: Buckets) -> Column:
    """2 sqrt(max(0, -cov(dp_i, dp_(i-1)))) over the bucket's trade prices, quote units, >= 0 (Roll 1984).

    Sample covariance (n - 1) of neighbouring price changes, from exact sums; undefined with under four prints.
    """
    trades = b.statistics.trades
    earlier, later = (part.tolist() for part in trades.change_sums.T)
    products = limbs_to_ints(trades.change_products)
    pairs = np.maximum(trades.rows - 2, 0).tolist()
    covariance = np.array(
        [
            (n * xy - x * y) / (n * (n - 1)) if n > 1 else np.nan
            for n, xy, x, y in zip(pairs, products, earlier, later, strict=True)
        ]
    )
    values = 2.0 * np.sqrt(np.maximum(0.0, -covariance)) / trades.px_scale
    return column(values, gap=b.trade_gap, undefined=trades.rows < _MIN_PRICES)


def effective_spread_bps(b: Buckets) -> Column:
    """Mean of 2 d (px - M)/M weighted by px x qty, bps; M = mid of the last grid row with ts <= the trade's time.

    Gap where trades of the bucket are, or the book before any of its prints is not known; undefined without prints, or
    where a side of that book was empty.
    """
    trades = b.statistics.trades
    value = 1e4 * divide(trades.effective_sum, trades.effective_weight)
    undefined = (trades.effective_weight == 0) | (trades.effective_undefined > 0)
    return column(value, gap=b.trade_gap | (trades.effective_unknown > 0), undefined=undefined)
