"""`midas features`: plans the days that are not up to date, spreads the work over Ray, says what came out."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from midas_ray.errors import DataError, UsageError
from midas_ray.features.bars_of_buckets import BAR_US
from midas_ray.features.buckets import PriceSource
from midas_ray.features.pipeline import Result, compute
from midas_ray.features.plan import SymbolFiles, plan_symbol, settings_of, symbol_files
from midas_ray.features.summary import symbol_summary
from midas_ray.log import Reporter
from midas_ray.ray_session import ray_session
from midas_ray.settings import Features
from midas_ray.spread import BATCH_BYTES, spread
from midas_ray.storage import Storage

T = TypeVar("T")

TASK_BYTES = 8 * 2**20
"""What a task of an hour or a day weighs: some of them share a Ray task."""


def features(settings: Features) -> int:
    """Bring features/ up to date with clean/.

    Raises DataError naming every task that failed, after all days that do not need it were computed; SchemaError,
    UsageError.
    """
    storage = Storage.of(settings)
    files = chosen_files(storage, settings)
    check_bars(files, settings.time_bucket_ms)
    price_source = reference_price(files)
    storage.check_writable()
    plans = [plan_symbol(storage, each, settings_of(settings, price_source)) for each in files]
    report = Reporter(storage, "features")
    failures: list[str] = []
    if any(plan.days for plan in plans):
        with ray_session(settings):
            failures = compute(storage, plans, RaySpread(storage, report.note))
    for plan in plans:
        report.result(symbol_summary(storage, plan))
    if failures:
        for plan in plans:
            left = len(plan_symbol(storage, plan.files, plan.settings).days)
            if left:
                report.result(f"{plan.files.symbol}: {left} of these days could not be computed and stay as they were")
        for failure in failures:
            report.failure(failure)
        raise DataError("; ".join(failures))
    return 0


def check_bars(files: Sequence[SymbolFiles], time_bucket_ms: int) -> None:
    """Raises UsageError where days of a symbol have bars alone and the bucket is no multiple of them."""
    only_bars = [each.symbol for each in files if each.bar_days]
    if only_bars and (time_bucket_ms * 1000) % BAR_US:
        raise UsageError(
            f"--time-bucket-ms {time_bucket_ms}: expected a multiple of {BAR_US // 1000}, since "
            f"{', '.join(only_bars)} has days of 1-minute bars only"
        )


def chosen_files(storage: Storage, settings: Features) -> list[SymbolFiles]:
    """Clean files of the symbols asked for, or of all. Raises DataError where there are none."""
    tables = ("clean/book", "clean/trades", "clean/bars")
    present = sorted({symbol for table in tables for symbol in storage.symbols(table, settings.venue)})
    if not present:
        raise DataError(
            f"no clean data yet of {settings.venue} under {storage.shown}/clean"
            f"{storage.other_venues(tables, settings.venue)}: run midas reconstruct (after collect or import) first"
        )
    missing = [symbol for symbol in settings.symbols if symbol not in present]
    if missing:
        raise DataError(
            f"no clean data of {', '.join(missing)} under {storage.shown}/clean, found {', '.join(present)}: "
            "run midas reconstruct first"
        )
    return [symbol_files(storage, settings.venue, symbol) for symbol in settings.symbols or present]


def reference_price(files: Sequence[SymbolFiles]) -> PriceSource:
    """One reference price for the dataset. Raises UsageError where some symbols have a book and others do not."""
    with_book = [each.symbol for each in files if each.has_book]
    without = [each.symbol for each in files if not each.has_book]
    if with_book and without:
        raise UsageError(
            f"expected one reference price for a dataset, found a book of {', '.join(with_book)} but none of "
            f"{', '.join(without)}: choose with --symbols"
        )
    return "midprice" if with_book else "close"


class RaySpread:
    """Runs tasks by `spread`, inside a Ray session."""

    def __init__(self, storage: Storage, note: Callable[[str], None]) -> None:
        self._data_dir, self._note = storage.address, note

    def __call__(self, label: str, work: Callable[[Storage, T], Result], tasks: Sequence[T]) -> list[Result]:
        """The results in any order; a task that fails gives its error."""
        data_dir = self._data_dir
        weight = TASK_BYTES if label != "features" else BATCH_BYTES
        run = lambda task: work(Storage(data_dir), task)  # noqa: E731
        return spread(label, run, tasks, weight=lambda _task: weight, note=self._note)
