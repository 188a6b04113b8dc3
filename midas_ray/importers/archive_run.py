"""The import of archives that hold columns: survey, journals, summary. Nothing is written unless all can be."""

import itertools
import time
from collections import Counter
from pathlib import Path

from rich.progress import Progress

from midas_ray import console
from midas_ray.build_folder import build_folder
from midas_ray.errors import DataError, UsageError
from midas_ray.importers.archive import ArchiveFormat, ArchiveSurvey
from midas_ray.importers.archive_journals import ArchiveJournals, ArchiveOutcome
from midas_ray.importers.journals import SymbolCapture, captures
from midas_ray.importers.ledger import Ledger
from midas_ray.importers.textfile import sha256
from midas_ray.importers.units import utc_text
from midas_ray.settings import Import
from midas_ray.storage import Storage
from midas_ray.venues import get_venue
from midas_ray.venues.base import Venue

_WORTH_NAMING = {
    "depth": "book changes",
    "trade": "trades",
    "markPrice": "mark price and funding rate",
    "forceOrder": "liquidations",
}
"""What features are made of, by the kind of stream that brings it."""


def import_archive(settings: Import, storage: Storage, paths: list[Path], fmt: ArchiveFormat) -> int:
    """Import `paths`; gives 0. The same files again change nothing.

    Raises UsageError for symbols the files do not hold and for another venue, DataError for what the files hold,
    CorruptFileError, StorageError.
    """
    started = time.monotonic()
    with console.progress_bar() as progress:
        files, digests = _surveyed(paths, fmt, progress)
        venue = _venue_of(files, settings)
        wanted = _selected(files, settings, fmt)
        wanted = _to_do(wanted, files, digests, storage, venue.name)
        if not wanted:
            return 0
        for capture in wanted.values():
            _check_apart(capture, files, fmt)
        storage.check_writable()
        writing = progress.add_task("writing messages", total=None)
        with build_folder(storage, "import") as folder:
            work = ArchiveJournals(venue, fmt, files, wanted, folder, settings)
            messages = work.run(lambda count: progress.advance(writing, count))
            for symbol, capture in wanted.items():
                sources = {digests[index]: files[index].path.name for index in capture.files}
                written = Ledger(storage, venue.name, symbol).publish(folder / symbol, fmt.name, sources)
                console.out.print(
                    _summary(capture, files, work.outcomes[symbol], fmt, venue, len(written)), markup=False
                )
    rows, seconds = sum(file.rows for file in files), time.monotonic() - started
    console.out.print(
        f"{fmt.name}: {rows:,} rows, {messages:,} messages into raw/venue={venue.name} in {seconds:.1f} s "
        f"({rows / max(seconds, 1e-9):,.0f} rows/s)"
    )
    return 0


def _surveyed(paths: list[Path], fmt: ArchiveFormat, progress: Progress) -> tuple[list[ArchiveSurvey], list[str]]:
    """(survey, digest) of each file, those of the same content once."""
    reading = progress.add_task("reading files", total=len(paths))
    files: list[ArchiveSurvey] = []
    digests: list[str] = []
    for path in paths:
        digest = sha256(path)
        if digest in digests:
            same = files[digests.index(digest)].path
            console.err.print(f"{path}: the same content as {same}; taken once", markup=False)
        else:
            files.append(fmt.survey(path))
            digests.append(digest)
        progress.advance(reading)
    for symbol in sorted({symbol for file in files for symbol in file.left_out}):
        console.err.print(f"{symbol}: left out: expected a symbol of letters and digits such as btcusdt", markup=False)
    return files, digests


def _venue_of(files: list[ArchiveSurvey], settings: Import) -> Venue:
    """The venue that the files say, else the one that the user says. Raises UsageError where they differ."""
    said = {file.venue: file.path for file in files if file.venue is not None}
    if len(said) > 1:
        raise UsageError(
            "expected files of one exchange, found "
            + " and ".join(f"{path} of {name}" for name, path in said.items())
            + "; import each exchange by itself"
        )
    if not said:
        return get_venue(settings.venue)
    name, path = next(iter(said.items()))
    if "venue" in settings.model_fields_set and settings.venue != name:
        raise UsageError(f"{path}: expected data of {settings.venue}, found {name}; import with --venue {name}")
    return get_venue(name)


def _selected(files: list[ArchiveSurvey], settings: Import, fmt: ArchiveFormat) -> dict[str, SymbolCapture]:
    """The symbols asked for, all where none are named. Raises UsageError for one that the files do not hold."""
    found = captures(files)
    if not found:
        raise DataError(f"expected market data in {fmt.expected}, found none; check FORMAT and the files")
    unknown = [symbol for symbol in settings.symbols if symbol not in found]
    if unknown:
        raise UsageError(f"--symbols {','.join(unknown)}: expected symbols in the files, found {', '.join(found)}")
    return {symbol: capture for symbol, capture in found.items() if not settings.symbols or symbol in settings.symbols}


def _to_do(
    wanted: dict[str, SymbolCapture], files: list[ArchiveSurvey], digests: list[str], storage: Storage, venue: str
) -> dict[str, SymbolCapture]:
    """Those not imported yet. Raises DataError where other raw data are in the way."""
    left = {}
    for symbol, capture in wanted.items():
        ledger, sources = Ledger(storage, venue, symbol), [digests[index] for index in capture.files]
        if ledger.is_up_to_date(sources):
            console.out.print(f"{symbol}: already imported from the same files; nothing to do")
            continue
        mine = [files[index].symbols[symbol] for index in capture.files]
        ledger.check_free(min(each.first_ns for each in mine), max(each.last_ns for each in mine), sources)
        left[symbol] = capture
    return left


def _check_apart(capture: SymbolCapture, files: list[ArchiveSurvey], fmt: ArchiveFormat) -> None:
    """Raises DataError where two files without ids tell of the same time: nothing says how they mix.

    Where files never join, only those of book changes are without.
    """
    if fmt.files_join == "by id":
        return
    mine = [(files[index].path, files[index].symbols[capture.symbol]) for index in capture.files]
    mine = [each for each in mine if fmt.files_join == "where close" or each[1].kinds["depth"]]
    mine.sort(key=lambda each: each[1].first_ns)
    for (path, before), (other, after) in itertools.pairwise(mine):
        if after.first_ns < before.last_ns:
            raise DataError(
                f"{capture.symbol}: expected the changes of each moment in one file, found {path} until "
                f"{utc_text(before.last_ns)} and {other} from {utc_text(after.first_ns)} UTC; leave one of them out"
            )


def _summary(
    capture: SymbolCapture,
    files: list[ArchiveSurvey],
    outcome: ArchiveOutcome,
    fmt: ArchiveFormat,
    venue: Venue,
    journals: int,
) -> str:
    mine = [files[index] for index in capture.files]
    counts = ", ".join(f"{kind} {count:,}" for kind, count in outcome.frames.most_common())
    offsets = [file.offset_ms for file in mine if file.offset_ms is not None]
    parts = [
        f"{outcome.frames.total():,} messages ({counts}), whole books {outcome.wholes}",
        f"{utc_text(capture.first_ns)} to {utc_text(capture.last_ns)} UTC "
        f"({(capture.last_ns - capture.first_ns) / 1e9:,.1f} s)",
        f"timestamps in {'/'.join(dict.fromkeys(file.unit.name for file in mine))}",
        f"book gaps {outcome.gaps}",
        f"source files {len(mine)}, journals {journals}",
    ]
    if offsets:
        parts[2] += f", local clock {max(offsets, key=abs) / 1000:+.3f} s against the exchange's"
    if fmt.times and capture.kinds["depth"]:
        parts.append(fmt.times)
    if outcome.runs > 1:
        parts.append(f"{outcome.runs} runs, between which nobody captured")
    parts += _book_notes(capture, outcome)
    notes = sum((file.notes for file in mine), start=Counter[str]())
    parts += [f"{count:,} {note}" for note, count in notes.items()]
    absent = [name for kind, name in _WORTH_NAMING.items() if kind in venue.kinds and not capture.kinds[kind]]
    parts.append(f"absent, so null in the features: {', '.join([*absent, *fmt.lacks]) or 'nothing'}")
    return f"{capture.symbol}: " + "; ".join(parts)


def _book_notes(capture: SymbolCapture, outcome: ArchiveOutcome) -> list[str]:
    if not capture.kinds["depth"]:
        return []
    if not outcome.ever_live:
        return [
            "no whole book to start from: the book stays `syncing`, and what needs it is null"
            if not outcome.wholes
            else "no book change after a whole book: the book stays `syncing`"
        ]
    notes = [f"book known {outcome.levels:,} levels deep at most: levels beyond are null until a whole book shows them"]
    if outcome.crossed:
        notes.append(f"{outcome.crossed} crossed books: unknown from each to the next whole book")
    return notes
