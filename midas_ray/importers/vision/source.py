"""A zip of the archive: one CSV inside, its checksum beside it."""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from midas_ray.errors import CorruptFileError, DataError, StorageError
from midas_ray.importers.textfile import sha256
from midas_ray.importers.vision.names import ArchiveName, parse_name

CHECKSUM_SUFFIX = ".CHECKSUM"
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, struct.error)
"""What `zipfile` raises for damaged, encrypted or unknown zips."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to import. verified: it agrees with the .CHECKSUM beside it; False where there is none."""

    path: Path
    name: ArchiveName
    sha256: str
    verified: bool

    @property
    def file(self) -> str:
        """Its name, without folders."""
        return self.path.name


def open_source(path: Path) -> Source:
    """Look at a zip and its checksum. Raises DataError, CorruptFileError, StorageError: one line each."""
    name = parse_name(path.name)
    with path.open("rb") as stream:
        if not stream.read(1):
            raise CorruptFileError(f"{path}: expected a zip with one CSV inside, found an empty file; fetch it again")
    digest = sha256(path)
    beside = path.with_name(path.name + CHECKSUM_SUFFIX)
    verified = beside.is_file()
    if verified:
        expected = read_checksum(beside, path.name)
        if expected != digest:
            raise CorruptFileError(
                f"{path}: expected SHA-256 {expected} by {beside.name}, found {digest}; fetch both again"
            )
    with csv_stream(path):
        pass
    return Source(path, name, digest, verified)


def read_checksum(path: Path, name: str) -> str:
    """SHA-256 that a .CHECKSUM file gives for `name`. Raises DataError, StorageError."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    return checksum_of(text, name, str(path))


def checksum_of(text: str, name: str, where: str) -> str:
    """SHA-256 in `<sha256>  <name>`. Raises DataError for any other text."""
    match = re.fullmatch(r"\s*([0-9a-fA-F]{64})\s+\*?(\S+)\s*", text)
    if match is None or match[2] != name:
        raise DataError(f"{where}: expected '<sha256>  {name}', found {text[:120].strip()!r}; fetch it again")
    return match[1].lower()


@contextmanager
def csv_stream(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(the CSV inside, the zip as it lies on disk: its position tells progress). Raises CorruptFileError, DataError."""
    with path.open("rb") as on_disk:
        try:
            with zipfile.ZipFile(on_disk) as archive, archive.open(_member(archive, path)) as inside:
                yield inside, on_disk
        except _DAMAGE as error:
            reason = str(error) or type(error).__name__
            raise CorruptFileError(f"{path}: truncated, damaged or no zip ({reason}); fetch it again") from None


def _member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The one CSV. Raises DataError where there is another number, or it is another file's by its own name."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1 or not members[0].filename.lower().endswith(".csv"):
        found = " ".join(", ".join(member.filename for member in members[:3]).split()) or "none"
        raise DataError(f"{path}: expected a zip with one CSV inside, found {len(members)} files ({found[:200]})")
    stem = members[0].filename.rpartition("/")[2][: -len(".csv")]
    try:
        inside = parse_name(f"{stem}.zip")
    except DataError:
        return members[0]  # it need not name itself
    if inside != parse_name(path.name):
        raise DataError(f"{path}: expected {path.stem}.csv inside, found {stem}.csv; keep the names as published")
    return members[0]
