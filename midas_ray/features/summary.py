"""What `midas features` prints: one line per symbol, from the files as they lie."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from midas_ray.features.column import KindArray
from midas_ray.features.nulls import NullKind
from midas_ray.features.plan import SymbolPlan
from midas_ray.features.registry import FEATURE_NAMES, FEATURES
from midas_ray.features.statistics import IntArray
from midas_ray.storage import Storage


def _read(storage: Storage, paths: list[str]) -> tuple[IntArray, KindArray]:
    """(m,) ts and (m, 72) kinds of all rows."""
    ts, kinds = [np.zeros(0, dtype=np.int64)], [np.zeros((0, len(FEATURES)), dtype=np.uint8)]
    for path in paths:
        table = storage.read_parquet(path, ["ts", "null_kinds"])
        raw = b"".join(table.column("null_kinds").to_pylist())
        ts.append(table.column("ts").cast(pa.int64()).to_numpy())
        kinds.append(np.frombuffer(raw, dtype=np.uint8).reshape(-1, len(FEATURES)))
    return np.concatenate(ts), np.concatenate(kinds)


def _moment(ts_us: int) -> str:
    return f"{datetime.fromtimestamp(ts_us / 1e6, UTC):%Y-%m-%d %H:%M:%S}"


def null_sentence(kinds: KindArray) -> str:
    """Shares of the nulls by kind, what warm-up costs in rows, and which features have no value at all."""
    null = kinds != NullKind.VALUE
    empty = null.all(axis=0)
    rest = kinds[:, ~empty]
    shares = ", ".join(
        f"{name} {100 * float((rest == kind).mean()) if rest.size else 0.0:.2f} %"
        for name, kind in (("gap", NullKind.GAP), ("warm-up", NullKind.WARM_UP), ("undefined", NullKind.UNDEFINED))
    )
    inputs = np.array([feature.model_input for feature in FEATURES])[~empty]
    cost = int((rest[:, inputs] == NullKind.WARM_UP).any(axis=1).sum())
    named = ", ".join(_named([name for name, is_empty in zip(FEATURE_NAMES, empty, strict=True) if is_empty]))
    return f"nulls: {shares}; warm-up costs {cost} rows; entirely null: {named or 'none'}"


def _named(names: list[str]) -> list[str]:
    """The names, a family that is there as a whole by its own."""
    families: dict[str, list[str]] = {}
    for feature in FEATURES:
        families.setdefault(feature.family, []).append(feature.name)
    found: list[str] = []
    for family, members in families.items():
        inside = [name for name in members if name in names]
        found += [f"{family} (all {len(members)})"] if inside == members else inside
    return found


def symbol_summary(storage: Storage, plan: SymbolPlan) -> str:
    """Rows, span, reference price, nulls by kind, days computed and left as they were."""
    files = plan.files
    paths = storage.list_files(f"features/venue={files.venue}/symbol={files.symbol}", "/features.parquet")
    ts_us, kinds = _read(storage, paths)
    if not len(ts_us):
        return f"{files.symbol}: no rows: the clean data do not reach the end of a bucket"
    notional = json.loads(storage.read_parquet_metadata(paths[-1])["cost_notional"] or "null")
    unused = len(files.unused_bar_days)
    bars = f"; klines of {unused} days are not used: the symbol has a book, but not on them" if unused else ""
    cost = f", COST_NOTIONAL {notional:,.0f}" if notional is not None else ""
    return (
        f"{files.symbol}: {len(ts_us):,} rows, {_moment(int(ts_us.min()))} to {_moment(int(ts_us.max()))} UTC, "
        f"P = {plan.settings['price_source']}{cost}; {null_sentence(kinds)}; "
        f"{len(plan.days)} days computed, {plan.fresh} up to date{bars}"
    )
