"""The feature table of one venue in memory, as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from midas_ray.dataset.mapped import Rows
from midas_ray.errors import CorruptFileError, DataError, SchemaError, UsageError
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_SCHEMA_VERSION, FEATURES
from midas_ray.storage import Storage
from midas_ray.tables import is_own

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
KindArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Panel:
    """Feature rows of all symbols, sorted by (symbol, ts). n rows, F features.

    Example:
        panel = load_panel(Storage("data"), "binance-futures", ("btcusdt",))
        panel.values[:, panel.feature_names.index("ofi")]
    """

    venue: str
    symbols: tuple[str, ...]
    """Symbols in the order of `symbol_index`."""
    symbol_index: IntArray
    """(n,) position in `symbols`."""
    ts_us: IntArray
    """(n,) end of the bucket, microseconds since 1970 UTC: the moment the row is known."""
    values: FloatArray
    """(n, F) features, NaN where null."""
    kinds: KindArray
    """(n, F) why a value is null, as `NullKind`; 0 where it is not."""
    price: FloatArray
    """(n,) reference price P in quote units, NaN where null."""
    bid: FloatArray
    """(n,) midprice - spread/2, NaN where null or without a book."""
    ask: FloatArray
    """(n,) midprice + spread/2, NaN where null or without a book."""
    feature_names: tuple[str, ...]
    bucket_ms: int
    price_source: str
    """`midprice` or `close`: what P is."""

    @property
    def bucket_us(self) -> int:
        return self.bucket_ms * 1000

    def __len__(self) -> int:
        return len(self.ts_us)

    def column(self, name: str) -> FloatArray:
        """(n,) one feature."""
        return self.values[:, self.feature_names.index(name)]

    def until(self, last_us: int) -> "Panel":
        """The rows up to this moment, inclusive. Every symbol must have some."""
        rows = self.ts_us <= last_us
        per_row = ("symbol_index", "ts_us", "values", "kinds", "price", "bid", "ask")
        return replace(self, **{name: getattr(self, name)[rows] for name in per_row})

    def select(self, symbols: tuple[str, ...]) -> "Panel":
        """The rows of these symbols, which the panel must have, in the panel's order."""
        kept = [index for index, symbol in enumerate(self.symbols) if symbol in symbols]
        rows = np.isin(self.symbol_index, kept)
        per_row = ("ts_us", "values", "kinds", "price", "bid", "ask")
        return replace(
            self,
            symbols=tuple(self.symbols[index] for index in kept),
            symbol_index=np.searchsorted(kept, self.symbol_index[rows]),
            **{name: getattr(self, name)[rows] for name in per_row},
        )

    def digest(self) -> str:
        """Of all times, values and kinds: the same data, the same digest."""
        digest = xxhash.xxh3_128()
        for array in (self.ts_us, self.symbol_index, self.values, self.kinds):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def positions(self, names: tuple[str, ...]) -> IntArray:
        """(k,) positions of `names` among the features."""
        return np.array([self.feature_names.index(name) for name in names], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Header:
    """What all files of one dataset must agree on."""

    bucket_ms: int
    price_source: str


def _read_header(storage: Storage, path: str) -> _Header:
    metadata = storage.read_parquet_metadata(path)
    version = metadata.get("schema_version", "none")
    if version != str(FEATURE_SCHEMA_VERSION):
        raise SchemaError(
            f"{path}: expected feature schema version {FEATURE_SCHEMA_VERSION}, found {version}; "
            "rerun midas features with this version of midas_ray"
        )
    try:
        header = _Header(int(metadata["time_bucket_ms"]), metadata["price_source"])
    except (KeyError, ValueError):
        raise SchemaError(
            f"{path}: expected time_bucket_ms and price_source in the Parquet metadata, found {sorted(metadata)}; "
            "rerun midas features"
        ) from None
    return header


def _read_headers(storage: Storage, paths: list[str]) -> _Header:
    first = _read_header(storage, paths[0])
    for path in paths[1:]:
        header = _read_header(storage, path)
        for name, expected, found in (
            ("time_bucket_ms", first.bucket_ms, header.bucket_ms),
            ("price_source", first.price_source, header.price_source),
        ):
            if expected != found:
                raise SchemaError(
                    f"features mix {name} {expected} ({paths[0]}) and {found} ({path}): expected one for a dataset; "
                    "choose with --symbols, or rerun midas features for all"
                )
    return first


def _kinds_of(column: pa.ChunkedArray, path: str) -> KindArray:
    raw = b"".join(column.to_pylist())
    if len(raw) != len(column) * len(FEATURES):
        raise CorruptFileError(
            f"{path}: expected {len(FEATURES)} bytes of null_kinds a row, found {len(raw)} in {len(column)} rows; "
            "delete it and rerun midas features"
        )
    return np.frombuffer(raw, dtype=np.uint8).reshape(len(column), len(FEATURES))


@dataclass(frozen=True, slots=True)
class _Block:
    """The rows of one file."""

    ts_us: IntArray
    values: FloatArray
    kinds: KindArray


def _read_block(storage: Storage, path: str) -> _Block:
    table = storage.read_parquet(path)
    names = [feature.name for feature in FEATURES]
    missing = [name for name in ("ts", "null_kinds", *names) if name not in table.column_names]
    if missing:
        raise SchemaError(f"{path}: expected the column {missing[0]}, found none; rerun midas features")
    kinds = _kinds_of(table.column("null_kinds"), path)
    values = np.empty(kinds.shape)
    for position, name in enumerate(names):
        values[:, position] = table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    wrong = np.isnan(values) != (kinds != NullKind.VALUE)
    if wrong.any():
        row, position = np.argwhere(wrong)[0]
        raise CorruptFileError(
            f"{path}: {names[position]} in row {row} is {values[row, position]} with null kind {kinds[row, position]}: "
            "expected a null exactly where the kind is not 0; rerun midas features"
        )
    ts_us = table.column("ts").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return _Block(ts_us, values, kinds)


def _chosen_files(storage: Storage, venue: str, symbols: tuple[str, ...], since: date | None) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for partition, paths in storage.partitions("features").items():
        if partition.venue == venue and (since is None or partition.date >= since):
            files.setdefault(partition.symbol, []).extend(path for path in paths if is_own("features", path))
    files = {symbol: paths for symbol, paths in sorted(files.items()) if paths}
    if not files:
        raise DataError(
            f"{storage.shown}/features: expected feature files of {venue}, found none"
            f"{storage.other_venues(('features',), venue)}; run midas features first"
        )
    unknown = [symbol for symbol in symbols if symbol not in files]
    if unknown:
        raise UsageError(
            f"--symbols {','.join(unknown)}: expected symbols with features of {venue}, found {', '.join(files)}; "
            "run midas features for the others"
        )
    return {symbol: files[symbol] for symbol in files if symbol in symbols or not symbols}


def _symbol_blocks(storage: Storage, files: dict[str, list[str]]) -> Iterator[_Block]:
    """One block a symbol, sorted by ts. Raises DataError where a ts occurs twice."""
    for symbol, paths in files.items():
        blocks = [_read_block(storage, path) for path in paths]
        ts_us = np.concatenate([block.ts_us for block in blocks])
        order = np.argsort(ts_us, kind="stable")
        ts_us = ts_us[order]
        if (np.diff(ts_us) == 0).any():
            twice = np.datetime64(int(ts_us[:-1][np.diff(ts_us) == 0][0]), "us")
            raise DataError(f"features of {symbol}: ts {twice} occurs twice: expected once; rerun midas features")
        yield _Block(
            ts_us,
            np.concatenate([block.values for block in blocks])[order],
            np.concatenate([block.kinds for block in blocks])[order],
        )


def load_panel(storage: Storage, venue: str, symbols: tuple[str, ...] = (), since: date | None = None) -> Panel:
    """The feature rows of `symbols` (empty = all that have features), from the day `since` on.

    Raises DataError where there are none, UsageError for an unknown symbol, SchemaError for another schema version or
    mixed bucket lengths or price sources, CorruptFileError for a damaged file: one line each.
    """
    files = _chosen_files(storage, venue, symbols, since)
    header = _read_headers(storage, [path for paths in files.values() for path in paths])
    gathered = {name: Rows() for name in ("ts_us", "values", "kinds")}
    lengths = []
    for block in _symbol_blocks(storage, files):
        lengths.append(len(block.ts_us))
        for name, rows in gathered.items():
            rows.add(getattr(block, name))
    arrays: dict[str, Any] = {name: rows.array() for name, rows in gathered.items()}
    symbol_index = np.repeat(np.arange(len(lengths)), lengths)
    return make_panel(
        venue=venue, symbols=tuple(files), symbol_index=symbol_index, bucket_ms=header.bucket_ms,
        price_source=header.price_source, **arrays,
    )  # fmt: skip


def make_panel(
    *,
    venue: str,
    symbols: tuple[str, ...],
    symbol_index: IntArray,
    ts_us: IntArray,
    values: FloatArray,
    kinds: KindArray,
    bucket_ms: int,
    price_source: str,
) -> Panel:
    """A panel from rows sorted by (symbol, ts); derives P, bid and ask. Raises SchemaError for another price source."""
    names = tuple(feature.name for feature in FEATURES)
    if price_source not in {"midprice", "close"}:
        raise SchemaError(f"price_source: expected midprice or close, found {price_source}; rerun midas features")
    midprice, spread = values[:, names.index("midprice")], values[:, names.index("spread")]
    return Panel(
        venue=venue,
        symbols=symbols,
        symbol_index=symbol_index.astype(np.int64),
        ts_us=ts_us,
        values=values,
        kinds=kinds,
        price=values[:, names.index(price_source)].copy(),
        bid=midprice - spread / 2,
        ask=midprice + spread / 2,
        feature_names=names,
        bucket_ms=bucket_ms,
        price_source=price_source,
    )
