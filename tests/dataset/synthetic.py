"""Small made-up feature tables with the registry's columns, as panels and as files."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel, make_panel
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_SCHEMA_VERSION, FEATURES, POSITION, Feature
from midas_ray.storage import Storage

START_US = 1_767_571_200_000_000  # 2026-01-05 00:00 UTC
BUCKET_US = 60_000_000
VENUE = "binance-futures"


def _column(feature: Feature, rng: np.random.Generator, price: NDArray[np.float64]) -> NDArray[np.float64]:
    n = len(price)
    if feature.scaler == "price_bps":
        return price * np.exp(1e-4 * rng.standard_normal(n))
    if feature.scaler in {"log1p_robust", "log_robust"}:
        return np.exp(rng.standard_normal(n))
    if feature.scaler == "asinh_robust":
        return 10 * rng.standard_normal(n)
    return np.clip(0.3 * rng.standard_normal(n), feature.lower, feature.upper)


def synthetic_panel(rows: int = 300, symbols: tuple[str, ...] = ("btcusdt",), seed: int = 0) -> Panel:
    """A gap-free panel: P is a random walk of 2 bps a bucket, the other columns are noise of the right kind."""
    rng = np.random.default_rng(seed)
    ts_us = START_US + BUCKET_US * np.arange(1, rows + 1)
    day = 2 * np.pi * ((ts_us // 1_000_000) % 86400) / 86400
    blocks = []
    for _ in symbols:
        price = 100 * np.exp(np.cumsum(2e-4 * rng.standard_normal(rows)))
        values = np.stack([_column(feature, rng, price) for feature in FEATURES], axis=1)
        values[:, POSITION["midprice"]] = price
        values[:, POSITION["spread"]] = 0.01
        values[::2, POSITION["spread"]] = 0.02
        values[:, POSITION["hour_sin"]], values[:, POSITION["hour_cos"]] = np.sin(day), np.cos(day)
        blocks.append(values)
    values = np.concatenate(blocks)
    return make_panel(
        venue=VENUE,
        symbols=symbols,
        symbol_index=np.repeat(np.arange(len(symbols)), rows),
        ts_us=np.tile(ts_us, len(symbols)),
        values=values,
        kinds=np.zeros(values.shape, dtype=np.uint8),
        bucket_ms=60_000,
        price_source="midprice",
    )


def with_nulls(panel: Panel, name: str, rows: NDArray[np.int64] | slice, kind: NullKind) -> Panel:
    """The panel with `name` null of this kind in `rows`; for midprice, P and the quotes follow."""
    values, kinds = panel.values.copy(), panel.kinds.copy()
    values[rows, POSITION[name]] = np.nan
    kinds[rows, POSITION[name]] = kind
    return rebuilt(panel, values=values, kinds=kinds)


def rebuilt(panel: Panel, values: NDArray[np.float64], kinds: NDArray[np.uint8] | None = None) -> Panel:
    """The panel with other values; P, bid and ask derived again."""
    return make_panel(
        venue=panel.venue,
        symbols=panel.symbols,
        symbol_index=panel.symbol_index,
        ts_us=panel.ts_us,
        values=values,
        kinds=panel.kinds if kinds is None else kinds,
        bucket_ms=panel.bucket_ms,
        price_source=panel.price_source,
    )


def take(panel: Panel, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Panel:
    """Only these rows."""
    fields = ("symbol_index", "ts_us", "values", "kinds", "price", "bid", "ask")
    return replace(panel, **{name: getattr(panel, name)[rows] for name in fields})


def write_features(storage: Storage, panel: Panel, metadata: dict[str, str] | None = None) -> list[str]:
    """Write the panel as feature files, one a symbol and day; gives their paths."""
    merged = {
        "schema_version": str(FEATURE_SCHEMA_VERSION),
        "time_bucket_ms": str(panel.bucket_ms),
        "price_source": panel.price_source,
        "venue": panel.venue,
    } | (metadata or {})
    days = ((panel.ts_us - panel.bucket_us) // 86_400_000_000).astype("datetime64[D]")
    paths = []
    for index, symbol in enumerate(panel.symbols):
        for day in np.unique(days[panel.symbol_index == index]):
            rows = (panel.symbol_index == index) & (days == day)
            path = f"features/venue={panel.venue}/symbol={symbol}/date={day}/features.parquet"
            storage.write_parquet(path, _table(panel, rows, symbol), merged)
            paths.append(path)
    return paths


def _table(panel: Panel, rows: NDArray[np.bool_], symbol: str) -> pa.Table:
    n = int(rows.sum())
    columns: dict[str, pa.Array] = {
        "ts": pa.array(panel.ts_us[rows], pa.timestamp("us", tz="UTC")),
        "symbol": pa.array([symbol] * n),
    }
    for position, name in enumerate(panel.feature_names):
        values = panel.values[rows, position]
        columns[name] = pa.array(values, mask=np.isnan(values))
    columns["coverage"] = columns["trades_coverage"] = pa.array(np.ones(n))
    columns["null_kinds"] = pa.array([row.tobytes() for row in panel.kinds[rows]], pa.binary())
    return pa.table(columns)
