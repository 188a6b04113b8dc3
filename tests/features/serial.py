"""The feature pipeline in this process, one task after the other: what the tests compare Ray's answer with."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from midas_ray.features.pipeline import compute
from midas_ray.features.plan import SymbolPlan, plan_symbol, settings_of, symbol_files
from midas_ray.settings import Features
from midas_ray.storage import Storage

VENUE = "binance-futures"


class SerialSpread:
    """Runs tasks in turn and counts them by label."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.counts: dict[str, int] = {}

    def __call__(
        self, label: str, work: Callable[[Storage, Any], dict[str, Any]], tasks: Sequence[Any]
    ) -> list[dict[str, Any]]:
        self.counts[label] = self.counts.get(label, 0) + len(tasks)
        return [work(self.storage, task) for task in tasks]


def plan_of(storage: Storage, symbol: str = "testusdt", **settings: Any) -> SymbolPlan:
    files = symbol_files(storage, settings.get("venue", VENUE), symbol)
    chosen = Features(data_dir=storage.data_dir, **settings)
    return plan_symbol(storage, files, settings_of(chosen, "midprice" if files.has_book else "close"))


def run_features(storage: Storage, symbol: str = "testusdt", **settings: Any) -> dict[str, int]:
    """Bring features up to date; gives how many tasks of each kind ran."""
    spread = SerialSpread(storage)
    compute(storage, [plan_of(storage, symbol, **settings)], spread)
    return spread.counts


def read_features(storage: Storage, symbol: str = "testusdt") -> pl.DataFrame:
    """All feature rows of a symbol, in order."""
    paths = storage.list_files(f"features/venue={VENUE}/symbol={symbol}", ".parquet")
    frames = [pl.DataFrame(storage.read_parquet(path)) for path in paths]
    return pl.concat(frames).sort("ts")


def features_of(storage: Storage, symbol: str = "testusdt", **settings: Any) -> pl.DataFrame:
    run_features(storage, symbol, **settings)
    return read_features(storage, symbol)
