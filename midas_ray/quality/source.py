"""Reads clean and feature files one at a time; holds their columns, types and metadata against the tables' contract."""

from collections.abc import Set
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from midas_ray import tables
from midas_ray.errors import DataError, SchemaError, UsageError
from midas_ray.features.registry import FEATURE_NAMES, FEATURE_SCHEMA_VERSION
from midas_ray.quality.findings import Findings
from midas_ray.storage import Partition, Storage, metadata_of

CLEAN_TABLES = ("gaps", "book", "trades", "mark", "liquidations", "bars")
FEATURES = "features"
HOUR_US = 3_600_000_000

FEATURE_SCHEMA: dict[str, pl.DataType] = {
    "ts": tables.TIMESTAMP,
    "symbol": pl.String(),
    **dict.fromkeys(FEATURE_NAMES, pl.Float64()),
    "coverage": pl.Float64(),
    "trades_coverage": pl.Float64(),
    "null_kinds": pl.Binary(),
}

_FIXED_SCHEMAS = {
    "gaps": tables.GAPS,
    "trades": tables.TRADES,
    "mark": tables.MARK,
    "liquidations": tables.LIQUIDATIONS,
    "bars": tables.BARS,
    FEATURES: FEATURE_SCHEMA,
}

_REQUIRED_METADATA = {
    "book": ("px_decimals", "sz_decimals", "snapshot_interval_ms"),
    "trades": ("px_decimals", "sz_decimals", "trade_source"),
    FEATURES: ("time_bucket_ms", "price_source"),
}

_ALLOWED_METADATA = {"trade_source": ("trade", "aggTrade"), "price_source": ("midprice", "close")}

_NULLABLE = {
    "book": {"last_update_id"},
    "gaps": {"expected_id", "found_id", "first_recv_ns"},
    "trades": {"recv_ns"},
    "mark": {"mark_px", "index_px", "funding_rate", "next_funding_ts"},
    "bars": {"quote_volume", "number_of_trades", "taker_buy_volume", "taker_buy_quote_volume"},
    FEATURES: {*FEATURE_NAMES, "coverage", "trades_coverage"},
}


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of a table. `path` is relative to DATA_DIR."""

    table: str
    partition: Partition
    path: str

    @property
    def hour(self) -> int | None:
        """UTC hour in the file's name (`07.parquet`); None where the file holds the whole day."""
        return tables.hour_in_name(self.path)

    @property
    def span_us(self) -> tuple[int, int]:
        """[start, end] of the hour or day whose rows the file holds, microseconds since 1970."""
        day_us = (self.partition.date.toordinal() - 719_163) * 24 * HOUR_US
        if self.hour is None:
            return day_us, day_us + 24 * HOUR_US
        return day_us + self.hour * HOUR_US, day_us + (self.hour + 1) * HOUR_US


@dataclass(frozen=True, slots=True)
class Rows:
    """A file's rows. px_scale, sz_scale: 10^decimals of the file, None where its metadata names none."""

    file: DataFile
    frame: pl.DataFrame
    metadata: dict[str, str]

    @property
    def symbol(self) -> str:
        return self.file.partition.symbol

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def px_decimals(self) -> int:
        return int(self.metadata["px_decimals"])

    @property
    def sz_decimals(self) -> int:
        return int(self.metadata["sz_decimals"])


class Source:
    """The files of one venue under DATA_DIR, by symbol and table; `foreign`: what lies among them, by symbol.

    Raises DataError where there is no clean data, UsageError for a symbol without any.
    """

    def __init__(self, storage: Storage, venue: str, symbols: tuple[str, ...]) -> None:
        self.storage = storage
        self.venue = venue
        self.files: dict[str, dict[str, list[DataFile]]] = {}
        self.foreign: dict[str, list[str]] = {}
        elsewhere: set[str] = set()
        for name in (*CLEAN_TABLES, FEATURES):
            folder = name if name == FEATURES else f"clean/{name}"
            for partition, paths in storage.partitions(folder).items():
                if partition.venue != venue:
                    elsewhere.add(partition.venue)
                    continue
                own = [path for path in paths if tables.is_own(name, path)]
                files = [DataFile(name, partition, path) for path in own]
                self.foreign.setdefault(partition.symbol, []).extend(path for path in paths if path not in own)
                self.files.setdefault(partition.symbol, {}).setdefault(name, []).extend(files)
        clean = {symbol: each for symbol, each in self.files.items() if any(each.get(name) for name in CLEAN_TABLES)}
        if not clean:
            other = f" for {venue} (found {', '.join(sorted(elsewhere))}: choose with --venue)" if elsewhere else ""
            raise DataError(f"no clean data under {storage.shown}{other}; run midas reconstruct first")
        unknown = [symbol for symbol in symbols if symbol not in clean]
        if unknown:
            raise UsageError(
                f"--symbols {','.join(unknown)}: expected symbols with clean data of {venue}, "
                f"found {', '.join(sorted(clean))}"
            )
        self.symbols = tuple(symbols) or tuple(sorted(clean))

    def name_foreign(self, symbol: str, findings: Findings) -> None:
        """A finding for each file among the symbol's that is none of MIDAS's."""
        findings.look("foreign_files", sum(map(len, self.files[symbol].values())))
        for path in self.foreign.get(symbol, []):
            features = path.startswith(f"{FEATURES}/")
            findings.add(
                "foreign_files",
                symbol,
                path,
                "a name that MIDAS does not give",
                "features.parquet" if features else "HH.parquet",
            )

    def of(self, symbol: str, table: str) -> list[DataFile]:
        """The files of a symbol's table, in order of time."""
        return self.files[symbol].get(table, [])

    def load(self, file: DataFile, findings: Findings) -> Rows | None:
        """The rows of a file; None, and a finding, where its schema is wrong.

        Raises CorruptFileError for a damaged file, SchemaError for one of another schema version.
        """
        arrow = self.storage.read_parquet(file.path)
        metadata = metadata_of(arrow)
        _check_version(file, metadata)
        findings.look("schema", 1)
        if file.table == "gaps" and "fault" not in arrow.column_names and not _columns_problem(file, arrow, {"fault"}):
            arrow = tables.with_fault(pl.DataFrame(pl.from_arrow(arrow))).to_arrow()
        problem = _columns_problem(file, arrow) or _metadata_problem(file, metadata)
        if problem is None:
            frame = pl.DataFrame(pl.from_arrow(arrow))
            problem = _content_problem(file, frame)
            if problem is None:
                return Rows(file, frame, metadata)
        findings.add("schema", file.partition.symbol, file.path, *problem)
        return None


def _check_version(file: DataFile, metadata: dict[str, str]) -> None:
    expected = FEATURE_SCHEMA_VERSION if file.table == FEATURES else tables.SCHEMA_VERSION
    found = metadata.get("schema_version")
    if found is not None and found != str(expected):
        stage = "features" if file.table == FEATURES else "reconstruct"
        raise SchemaError(
            f"{file.path}: expected schema version {expected}, found {found}; rerun midas {stage} with this version"
        )


def _expected_schema(file: DataFile, arrow: pa.Table) -> dict[str, pl.DataType]:
    if file.table != "book":
        return _FIXED_SCHEMAS[file.table]
    levels = sum(name.startswith("bid_px_") for name in arrow.column_names)
    return tables.book_schema(min(max(levels, tables.MIN_LEVELS), 50))


def _columns_problem(file: DataFile, arrow: pa.Table, without: Set[str] = frozenset()) -> tuple[str, str] | None:
    """(found, expected) where the columns, but for those of `without`, or their types are not those of the table."""
    schema = {name: dtype for name, dtype in _expected_schema(file, arrow).items() if name not in without}
    missing = [name for name in schema if name not in arrow.column_names]
    if missing:
        return f"no column {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""), "all columns"
    extra = [name for name in arrow.column_names if name not in schema]
    if extra:
        return f"column {extra[0]}" + (f" and {len(extra) - 1} more" if extra[1:] else ""), "only the table's columns"
    for name, dtype in schema.items():
        found = arrow.schema.field(name).type
        if not _same_kind(found, dtype):
            return f"{name} of type {found}", f"{dtype}"
    return None


def _same_kind(found: pa.DataType, expected: pl.DataType) -> bool:
    """Whether an Arrow type holds what a Polars type says; text and enumerations have several Arrow forms."""
    if isinstance(expected, pl.Enum | pl.String):
        value = found.value_type if pa.types.is_dictionary(found) else found
        return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))
    if isinstance(expected, pl.Binary):
        return bool(pa.types.is_binary(found) or pa.types.is_large_binary(found) or pa.types.is_binary_view(found)
                    or pa.types.is_fixed_size_binary(found))  # fmt: skip
    return bool(found == pl.DataFrame(schema={"x": expected}).to_arrow().schema.field("x").type)


def _metadata_problem(file: DataFile, metadata: dict[str, str]) -> tuple[str, str] | None:
    names = ("schema_version", *_REQUIRED_METADATA.get(file.table, ()))
    for name in names:
        if name not in metadata:
            return f"no {name} in the metadata", "it in the Parquet metadata"
        allowed = _ALLOWED_METADATA.get(name)
        if allowed is not None:
            if metadata[name] not in allowed:
                return f"metadata {name}={metadata[name]}", " or ".join(allowed)
        elif not metadata[name].isdecimal():
            return f"metadata {name}={metadata[name]}", "a whole number"
    return None


def _content_problem(file: DataFile, frame: pl.DataFrame) -> tuple[str, str] | None:
    """(found, expected) where values do not belong to the table at all."""
    symbols = frame["symbol"].unique().to_list()
    if symbols not in ([file.partition.symbol], []):
        return f"symbol {', '.join(map(str, symbols))}", file.partition.symbol
    for name, dtype in _expected_enums(file).items():
        strangers = set(frame[name].cast(pl.String).unique().to_list()) - set(dtype.categories.to_list())
        if strangers - {None}:
            return f"{name} {', '.join(sorted(map(str, strangers - {None})))}", "one of " + ", ".join(dtype.categories)
    nullable = _NULLABLE.get(file.table, set())
    for name in frame.columns:
        may = name in nullable or (file.table == "book" and name.startswith(("bid_", "ask_", "ofi_")))
        if not may and frame[name].null_count():
            return f"{frame[name].null_count()} nulls in {name}", "none"
    return None


def _expected_enums(file: DataFile) -> dict[str, pl.Enum]:
    schema = tables.book_schema() if file.table == "book" else _FIXED_SCHEMAS[file.table]
    return {name: dtype for name, dtype in schema.items() if isinstance(dtype, pl.Enum)}
