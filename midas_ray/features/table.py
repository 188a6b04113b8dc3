"""The feature table of one symbol's day: all 72 functions over its buckets, and the file they go into."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, KindArray
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_NAMES, FEATURES
from midas_ray.features.statistics import FloatArray, IntArray

FUNCTIONS: dict[str, Callable[[Buckets], Column]] = {
    feature.name: getattr(importlib.import_module(f"midas_ray.features.{feature.family}"), feature.name)
    for feature in FEATURES
}
"""The function of each feature, in column order."""


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """m buckets that a collector ran in. values: (m, 72), NaN exactly where kinds: (m, 72) is not 0."""

    ts_us: IntArray
    values: FloatArray
    kinds: KindArray
    coverage: FloatArray
    trades_coverage: FloatArray

    @property
    def entirely_null(self) -> list[str]:
        """Names of the features without a single value."""
        null = (self.kinds != NullKind.VALUE).all(axis=0)
        return [name for name, is_null in zip(FEATURE_NAMES, null, strict=True) if is_null]


def feature_rows(b: Buckets) -> FeatureRows:
    """All features of the wanted buckets that exist.

    Raises RuntimeError where a feature breaks its own rule: a number that is not finite.
    """
    rows = np.flatnonzero(b.exists & (np.arange(len(b.ts_us)) >= b.first))
    values = np.empty((len(rows), len(FEATURES)))
    kinds = np.empty((len(rows), len(FEATURES)), dtype=np.uint8)
    for position, (name, function) in enumerate(FUNCTIONS.items()):
        column = function(b)
        values[:, position], kinds[:, position] = column.values[rows], column.kinds[rows]
        wrong = np.isfinite(values[:, position]) != (kinds[:, position] == NullKind.VALUE)
        if wrong.any():
            ts_us = int(b.ts_us[rows][wrong][0])
            raise RuntimeError(f"feature {name} at {np.datetime64(ts_us, 'us')}: not finite, but not null either")
    return FeatureRows(b.ts_us[rows], values, kinds, b.coverage[rows], b.bars.coverage[rows])


def _binary_rows(kinds: KindArray) -> pa.Array:
    """(m, 72) bytes as a Binary column of 72 bytes a row."""
    rows, width = kinds.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(np.ascontiguousarray(kinds).tobytes())]
    return pa.Array.from_buffers(pa.binary(), rows, buffers)


def to_table(rows: FeatureRows, symbol: str) -> pa.Table:
    """ts, symbol, the 72 features in order, coverage, trades_coverage, null_kinds."""
    columns: dict[str, pa.Array] = {
        "ts": pa.array(rows.ts_us).cast(pa.timestamp("us", tz="UTC")),
        "symbol": pa.array([symbol] * len(rows.ts_us), pa.string()),
    }
    for position, name in enumerate(FEATURE_NAMES):
        columns[name] = pa.array(rows.values[:, position], mask=rows.kinds[:, position] != NullKind.VALUE)
    columns["coverage"] = pa.array(rows.coverage)
    columns["trades_coverage"] = pa.array(rows.trades_coverage)
    columns["null_kinds"] = _binary_rows(rows.kinds)
    return pa.table(columns)
