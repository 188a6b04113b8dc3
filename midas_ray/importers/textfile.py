"""Lines of a text file, plain or in gzip, told apart by their first bytes."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from midas_ray.errors import CorruptFileError, DataError, StorageError, UsageError

_GZIP_MAGIC = b"\x1f\x8b"
_HEAD_BYTES = 4096


def check_paths(paths: list[str]) -> list[Path]:
    """The files at `paths`. Raises UsageError where one is absent or a folder, StorageError where it is closed."""
    found = []
    for text in paths:
        path = Path(text).expanduser()
        if path.is_dir():
            raise UsageError(f"{text}: expected a file, found a folder; name its files, such as {text.rstrip('/')}/*")
        if not path.is_file():
            raise UsageError(f"{text}: expected a file, found none; check the path")
        if not os.access(path, os.R_OK):
            raise StorageError(f"{text}: expected a readable file; check its permissions")
        found.append(path)
    return found


def sha256(path: Path) -> str:
    """Digest of the file as it lies on disk."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def numbered_lines(path: Path, expected: str) -> Iterator[tuple[int, bytes, bool]]:
    """(number from 1, line without its newline, whether it had one) of each line that is not blank.

    `expected` names what the file should hold, for errors. Raises DataError for a file that is empty or binary,
    CorruptFileError for gzip data that is damaged or cut off.
    """
    with path.open("rb") as plain:
        head = plain.read(_HEAD_BYTES)
    if not head:
        raise DataError(f"{path}: expected {expected}, found an empty file")
    zipped = head.startswith(_GZIP_MAGIC)
    if not zipped and b"\0" in head:
        raise DataError(f"{path}: expected {expected}, plain or in gzip, found binary data; check FORMAT and the file")
    with gzip.open(path, "rb") if zipped else path.open("rb") as stream:
        try:
            for number, line in enumerate(stream, 1):
                body = line.strip()
                if body:
                    yield number, body, line.endswith(b"\n")
        except EOFError:
            raise CorruptFileError(
                f"{path}: truncated: its gzip data end before their end mark; fetch the file again, "
                "or keep what is readable: zcat FILE > PLAIN, and import that"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise CorruptFileError(f"{path}: damaged gzip data ({error}); fetch the file again") from None
