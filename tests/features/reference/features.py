"""The 72 features a second time, slowly, written from the specification alone: what `midas features` must equal.

Nothing of midas_ray/features is used. Textbook formulas, exact sums of prints (`Fraction`) and `math.fsum`; each
window is looked at afresh. The parts: reference_clean (tables), _buckets (coverage, windows), _book, _trades, _windows.
"""

from tests.features.reference import book, trades, windows
from tests.features.reference.buckets import Buckets
from tests.features.reference.clean import Column


def reference_features(b: Buckets, cost_buckets: set[int] | None = None) -> dict[str, Column]:
    """Every feature by name, by ts (us). cost_buckets: those in which the slow cost_to_* are computed (None = all)."""
    bars, flow = trades.bars(b), trades.trade_flow(b)
    volatility = windows.volatility(b, bars)
    sampled = set(b.times) if cost_buckets is None else cost_buckets
    return {
        **bars,
        **flow,
        **book.top_of_book(b),
        **book.liquidity(b),
        **book.imbalance(b),
        **book.book_shape(b),
        "cost_to_buy_bps": book.cost(b, "buy", sampled),
        "cost_to_sell_bps": book.cost(b, "sell", sampled),
        **book.order_flow(b),
        **volatility,
        **windows.impact(b, volatility["returns"], flow["signed_volume"], bars["quote_volume"]),
        "vpin": trades.vpin(b),
        "roll_spread": b.of_prints(trades.roll),
        "effective_spread_bps": trades.effective_spread(b),
        **windows.derivatives(b),
        **windows.calendar(b),
    }
