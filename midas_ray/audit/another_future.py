"""The same data up to a moment, and another future after it: prices double, sizes grow a thousandfold, sides turn.

Sharper than cutting the data off: one print too many seldom shows in a feature, one a thousand times as large does.
"""

import numpy as np
import polars as pl
import pyarrow as pa

from midas_ray.dataset.panel import FloatArray, Panel, make_panel
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURES, Feature
from midas_ray.tables import MIN_LEVELS, level_columns

_LADDER_FACTORS = {"bid_px": 2, "ask_px": 2, "bid_sz": 900, "ask_sz": 7, "ofi": -1000}
FACTORS: dict[str, dict[str, int]] = {
    "book": {name: by for kind, by in _LADDER_FACTORS.items() for name in level_columns(kind, MIN_LEVELS)},
    "trades": {"px": 2, "qty": 1000},
    "mark": {"mark_px": 3, "index_px": 2, "funding_rate": -2},
    "liquidations": {"qty": 1000},
    "bars": {
        **dict.fromkeys(("open", "high", "low", "close"), 2),
        **dict.fromkeys(("volume", "quote_volume", "number_of_trades"), 1000),
        **dict.fromkeys(("taker_buy_volume", "taker_buy_quote_volume"), 500),
    },
}
"""Of each clean table: what its columns are multiplied by after the cut."""
_INTERVALS = {"book", "bars"}
"""Tables whose `ts` ends what the row is about, known at `ts`; an event at the cut belongs to the next bucket."""
_NULL_SHARE = 0.3


def clean_with_another_future(table: pa.Table, name: str, cut_us: int) -> pa.Table:
    """Rows of clean/`name`, whatever columns were read of it."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    ts = pl.col("ts").cast(pl.Int64)
    known = ts <= cut_us if name in _INTERVALS else ts < cut_us
    changed = [
        pl.when(known).then(pl.col(column)).otherwise((pl.col(column) * by).cast(frame.schema[column])).alias(column)
        for column, by in FACTORS[name].items()
        if column in frame.columns
    ]
    if "side" in frame.columns:
        side = pl.col("side").cast(pl.String)
        turned = side.replace({"buy": "sell", "sell": "buy"})
        changed.append(pl.when(known).then(side).otherwise(turned).alias("side"))
    return frame.with_columns(changed).to_arrow().replace_schema_metadata(table.schema.metadata)


def _changed(feature: Feature, x: FloatArray, price_factor: FloatArray) -> FloatArray:
    """Within the feature's own bounds."""
    if feature.scaler == "price_bps":
        return x * price_factor
    factor = 1000.0 if feature.scaler in {"log1p_robust", "log_robust"} else -3.0
    return np.clip(factor * x, feature.lower, feature.upper)


def panel_with_another_future(
    panel: Panel, cut_us: int, rng: np.random.Generator, *, with_nulls: bool = False
) -> Panel:
    """Feature rows of all symbols.

    with_nulls: some of the later rows are gaps; without it the same rows are known, so that the same windows are there.
    """
    later = np.flatnonzero(panel.ts_us > cut_us)
    values, kinds = panel.values.copy(), panel.kinds.copy()
    price_factor = 2 * np.exp(0.01 * rng.standard_normal(len(later)))
    for position, feature in enumerate(FEATURES):
        values[later, position] = _changed(feature, values[later, position], price_factor)
    if with_nulls:
        lost = later[rng.random(len(later)) < _NULL_SHARE]
        values[lost], kinds[lost] = np.nan, NullKind.GAP
    return make_panel(
        venue=panel.venue,
        symbols=panel.symbols,
        symbol_index=panel.symbol_index,
        ts_us=panel.ts_us,
        values=values,
        kinds=kinds,
        bucket_ms=panel.bucket_ms,
        price_source=panel.price_source,
    )
