"""What was imported before: one small JSON file per import and symbol beside the raw partitions.

`raw/venue=V/symbol=S/imports/<id>.json` names the sources (by SHA-256) and the journals made of them, so that importing
the same files again changes nothing, and importing more files replaces what was made of fewer.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from midas_ray.capture.journal import OPEN_SUFFIX, SUFFIX, read_blocks
from midas_ray.capture.journal_run import HOUR_NS
from midas_ray.errors import DataError
from midas_ray.importers.units import utc_text
from midas_ray.storage import Storage


class ImportNote(msgspec.Struct, frozen=True):
    """One import of one symbol. sources: name by SHA-256. files: journals, relative to DATA_DIR."""

    format: str
    sources: dict[str, str]
    files: list[str]


class Ledger:
    """The imports of one symbol under DATA_DIR."""

    def __init__(self, storage: Storage, venue: str, symbol: str) -> None:
        self._storage = storage
        self._raw = f"raw/venue={venue}/symbol={symbol}"
        self._folder = f"{self._raw}/imports"
        self._symbol = symbol
        self._notes = {path: _read_note(storage, path) for path in storage.list_files(self._folder, ".json")}

    def is_up_to_date(self, sources: Iterable[str]) -> bool:
        """Whether these sources were all imported, and what was made of them is still there."""
        wanted = set(sources)
        notes = [note for note in self._notes.values() if wanted <= note.sources.keys()]
        there = self._storage.existing(path for note in notes for path in note.files)
        return any(there.issuperset(note.files) for note in notes)

    def check_free(self, first_ns: int, last_ns: int, sources: Iterable[str]) -> None:
        """Raises DataError where journals that these sources do not replace overlap [first_ns, last_ns]."""
        replaced = {path for note in self._replaced(sources).values() for path in note.files}
        for path in self._storage.list_files(f"{self._raw}/"):
            if path in replaced or not path.endswith((SUFFIX, OPEN_SUFFIX)):
                continue
            start_ns = int(path.rpartition("/")[2].partition("-")[0])
            hour_end_ns = (start_ns // HOUR_NS + 1) * HOUR_NS
            if start_ns > last_ns or hour_end_ns <= first_ns:
                continue
            if start_ns >= first_ns or self._last_frame_ns(path) >= first_ns:
                raise DataError(
                    f"{self._symbol}: expected no raw data from {utc_text(first_ns)} to {utc_text(last_ns)} UTC, "
                    f"found {path}; import all its sources together, delete it, or use another --data-dir"
                )

    def publish(self, staged: Path, fmt: str, sources: dict[str, str]) -> list[str]:
        """Move the journals under `staged` into place, instead of those of imports that these sources replace.

        Gives their paths relative to DATA_DIR.
        """
        for path, note in self._replaced(sources).items():
            for old in self._storage.existing(note.files):
                self._storage.delete(old)
            self._storage.delete(path)
        files = [str(journal.relative_to(staged)) for journal in sorted(staged.rglob(f"*{SUFFIX}"))]
        name = hashlib.sha256("".join(sorted(sources)).encode()).hexdigest()[:16]
        # The note first: where the moves below are interrupted, a rerun knows what to replace.
        note = ImportNote(fmt, sources, files)
        self._storage.write_bytes(f"{self._folder}/{name}.json", msgspec.json.encode(note))
        for relative in files:
            self._storage.adopt(staged / relative, relative)
        return files

    def _replaced(self, sources: Iterable[str]) -> dict[str, ImportNote]:
        wanted = set(sources)
        return {path: note for path, note in self._notes.items() if note.sources.keys() <= wanted}

    def _last_frame_ns(self, path: str) -> int:
        """Receive time of the last line of a journal, which begins before some hour's end."""
        line = b""
        with self._storage.open_stream(path) as stream:
            for block in read_blocks(stream, path):
                line = block[block.rfind(b"\n", 0, len(block) - 1) + 1 :]
        return int(line[len(b'{"recv_ns":') :].partition(b",")[0])


def _read_note(storage: Storage, path: str) -> ImportNote:
    try:
        return msgspec.json.decode(storage.read_bytes(path), type=ImportNote)
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: expected a note of an import ({error}); delete it and import again") from None
