"""`midas import`: other people's archives into raw journals, or clean tables (klines, binance-vision)."""

from collections.abc import Callable

from midas_ray import console
from midas_ray.build_folder import build_folder
from midas_ray.errors import DataError, UsageError
from midas_ray.importers.archive import ArchiveFormat
from midas_ray.importers.archive_run import import_archive
from midas_ray.importers.entries import CRYPTOFEED, LINES, LineFormat
from midas_ray.importers.hftbacktest import Hftbacktest
from midas_ray.importers.journals import (
    JournalImport,
    Outcome,
    SymbolCapture,
    captures,
    check_snapshots,
)
from midas_ray.importers.klines import import_klines
from midas_ray.importers.ledger import Ledger
from midas_ray.importers.midas_v2 import MidasV2
from midas_ray.importers.survey import FileSurvey, survey_file
from midas_ray.importers.tardis import Tardis
from midas_ray.importers.textfile import check_paths, sha256
from midas_ray.importers.units import utc_text
from midas_ray.importers.vision.run import import_vision
from midas_ray.settings import Import
from midas_ray.storage import Storage
from midas_ray.venues import get_venue

_FORMATS: dict[str, LineFormat] = {fmt.name: fmt for fmt in (LINES, CRYPTOFEED)}
_ARCHIVES: dict[str, Callable[[Import], ArchiveFormat]] = {
    "tardis": lambda _: Tardis(),
    "midas-v2": lambda _: MidasV2(),
    "hftbacktest": lambda settings: Hftbacktest(settings.symbols),
}


def import_archives(settings: Import) -> int:
    """Import `settings.paths`; gives 0. Nothing is written unless all can be; the same files again change nothing.

    Raises UsageError for absent files and symbols, DataError for what the files hold, StorageError.
    """
    storage = Storage.of(settings)
    if settings.format == "binance-vision":
        return import_vision(settings, storage)
    if not settings.paths:
        raise UsageError(f"midas import {settings.format}: expected PATH..., found none; name the files to import")
    paths = check_paths(settings.paths)
    if settings.format == "klines":
        return import_klines(settings, storage, paths)
    if settings.format in _ARCHIVES:
        return import_archive(settings, storage, paths, _ARCHIVES[settings.format](settings))
    fmt, venue = _FORMATS[settings.format], get_venue(settings.venue)
    with console.progress_bar() as progress:
        reading = progress.add_task("reading files", total=len(paths))
        files: list[FileSurvey] = []
        digests: list[str] = []
        for path in paths:
            digest = sha256(path)
            if digest in digests:
                console.err.print(
                    f"{path}: the same content as {files[digests.index(digest)].path}; taken once", markup=False
                )
            else:
                files.append(survey_file(path, fmt, venue))
                digests.append(digest)
            progress.advance(reading)
        for symbol in sorted({symbol for file in files for symbol in file.left_out}):
            console.err.print(
                f"{symbol}: left out: expected a symbol of letters and digits such as btcusdt", markup=False
            )
        wanted = _selected(captures(files), settings.symbols, fmt)
        wanted = _to_do(wanted, files, digests, storage, venue.name)
        if not wanted:
            return 0
        storage.check_writable()
        writing = progress.add_task("importing lines", total=sum(file.lines for file in files))
        with build_folder(storage, "import") as folder:
            work = JournalImport(venue, files, fmt, wanted, folder, settings)
            work.run(lambda lines: progress.advance(writing, lines))
            for symbol, capture in wanted.items():
                sources = {digests[index]: files[index].path.name for index in capture.files}
                written = Ledger(storage, venue.name, symbol).publish(folder / symbol, fmt.name, sources)
                console.out.print(_summary(capture, files, work.outcomes[symbol], len(written)), markup=False)
    return 0


def _selected(found: dict[str, SymbolCapture], symbols: tuple[str, ...], fmt: LineFormat) -> dict[str, SymbolCapture]:
    """The symbols asked for, all where none are named. Raises UsageError for one that the files do not hold."""
    if not found:
        raise DataError(f"expected market data of the venue in {fmt.expected}, found none; check --venue and the files")
    unknown = [symbol for symbol in symbols if symbol not in found]
    if unknown:
        raise UsageError(f"--symbols {','.join(unknown)}: expected symbols in the files, found {', '.join(found)}")
    return {symbol: capture for symbol, capture in found.items() if not symbols or symbol in symbols}


def _to_do(
    wanted: dict[str, SymbolCapture], files: list[FileSurvey], digests: list[str], storage: Storage, venue: str
) -> dict[str, SymbolCapture]:
    """Those not imported yet. Raises DataError where one cannot be."""
    left = {}
    for symbol, capture in wanted.items():
        ledger, sources = Ledger(storage, venue, symbol), [digests[index] for index in capture.files]
        if ledger.is_up_to_date(sources):
            console.out.print(f"{symbol}: already imported from the same files; nothing to do")
            continue
        check_snapshots(capture)
        ledger.check_free(
            min(files[index].first_ns for index in capture.files), max(files[index].last_ns for index in capture.files),
            sources,
        )  # fmt: skip
        left[symbol] = capture
    return left


def _summary(capture: SymbolCapture, files: list[FileSurvey], outcome: Outcome, journals: int) -> str:
    mine = [files[index] for index in capture.files]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in capture.kinds.most_common() if kind != "partial")
    first_ns, last_ns = min(file.first_ns for file in mine), max(file.last_ns for file in mine)
    units = "/".join(dict.fromkeys(file.unit.name for file in mine))
    offsets = [file.offset_ms for file in mine if file.offset_ms is not None]
    clock = (
        f"local clock {max(offsets, key=abs) / 1000:+.3f} s against the exchange's"
        if offsets
        else "no frame tells the exchange's time"
    )
    frames = sum(capture.kinds.values()) - capture.kinds["partial"]
    parts = [
        f"{frames:,} frames ({kinds}), depth snapshots {capture.snapshots}",
        f"{utc_text(first_ns)} to {utc_text(last_ns)} UTC ({(last_ns - first_ns) / 1e9:,.1f} s)",
        f"timestamps in {units}, {clock}",
        f"book gaps {outcome.gaps}",
        f"source files {len(mine)}, journals {journals}",
    ]
    if outcome.runs > 1:
        parts.append(f"{outcome.runs} runs, between which nobody captured")
    if not outcome.ever_live:
        parts.append("no depth events with a snapshot: the book stays `syncing`")
    if outcome.out_of_order:
        times = "once" if outcome.out_of_order == 1 else f"{outcome.out_of_order:,} times"
        parts.append(
            f"receive times run back by over a second {times}: lines of the files are out of order, and what the book "
            "misses there is a gap; sort them by their timestamps and import into another --data-dir"
        )
    if outcome.divergences:
        parts.append(f"{outcome.divergences} snapshots contradicted the book")
    if outcome.undecodable:
        parts.append(f"{outcome.undecodable} frames that no decoder understands, kept raw")
    if capture.kinds["partial"]:
        parts.append(f"{capture.kinds['partial']:,} frames of partial-depth streams left out: they are no differences")
    return f"{capture.symbol}: " + "; ".join(parts)
