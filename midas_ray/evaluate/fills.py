"""The fills of a backtest as CSV."""

import io
from typing import Any

import numpy as np
import polars as pl

from midas_ray.evaluate.outcome import Outcome

SCHEMA: dict[str, type[pl.DataType] | pl.DataType] = {
    "ts": pl.Datetime("us"), "symbol": pl.String, "trade": pl.Int64, "action": pl.String, "side": pl.String,
    "px": pl.Float64, "reference_px": pl.Float64, "fee_bps": pl.Float64, "decision_ts": pl.Datetime("us"),
    "fold": pl.Int64, "forecast_bps": pl.Float64, "gross_bps": pl.Float64, "net_bps": pl.Float64, "size": pl.Float64,
    "sleeve": pl.Int64, "funding_bps": pl.Float64,
}  # fmt: skip


def fills_csv(outcome: Outcome) -> bytes:
    """One line per fill in order of time: two for each round trip. Results stand on the line of the exit."""
    buffer = io.BytesIO()
    _fills(outcome).write_csv(buffer, datetime_format="%Y-%m-%dT%H:%M:%SZ", float_precision=None)
    return buffer.getvalue()


def _fills(outcome: Outcome) -> pl.DataFrame:
    if outcome.trading is None:
        return pl.DataFrame(schema=SCHEMA)
    panel, trades = outcome.panel, outcome.trading.trades
    shared = {
        "symbol": np.array(panel.symbols)[panel.symbol_index[trades.entry_row]],
        "trade": np.arange(1, len(trades) + 1),
        "size": trades.size,
        "sleeve": trades.sleeve,
        "fee_bps": np.full(len(trades), outcome.trading.fees.taker_bps),
        "decision_ts": outcome.forecasts.ts_us[trades.origin],
        "fold": outcome.forecasts.fold[trades.origin],
        "forecast_bps": trades.expected_bps,
    }
    nothing = np.full(len(trades), np.nan)
    parts = []
    for action, rows, px, side, results in (
        ("entry", trades.entry_row, trades.entry_px, trades.side, (nothing, nothing, nothing)),
        ("exit", trades.exit_row, trades.exit_px, -trades.side, (trades.gross_bps, trades.funding_bps, trades.net_bps)),
    ):
        own: dict[str, Any] = {
            "ts": panel.ts_us[rows],
            "action": [action] * len(trades),
            "side": np.where(side > 0, "buy", "sell").tolist(),
            "px": px,
            "reference_px": panel.price[rows],
            **dict(zip(("gross_bps", "funding_bps", "net_bps"), results, strict=True)),
        }
        every = shared | own
        parts.append(pl.DataFrame({name: pl.Series(every[name]).cast(kind) for name, kind in SCHEMA.items()}))
    joined = pl.concat(parts).with_columns(pl.col("gross_bps", "funding_bps", "net_bps").fill_nan(None))
    return joined.sort("ts", "trade", "action")
