"""models/<run>/ and models/latest: written whole or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from midas_ray.errors import StorageError

LATEST = "latest"
PROMOTED = "promoted"
"""The model that forecasts live, where one was promoted."""


def new_run_id() -> str:
    """Such as `tft-20261122T184501Z-3f9a`: sorted by time, never used twice."""
    return f"tft-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def check_folder(setting: str, folder: Path) -> None:
    """Make `folder` where it is absent. Raises StorageError with one line where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".tmp-probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StorageError(f"{setting} {folder}: expected a writable folder, found: {error.strerror}") from None


@contextlib.contextmanager
def model_folder(model_dir: Path, run_id: str) -> Iterator[Path]:
    """A temporary folder that becomes model_dir/run_id, and model_dir/latest, if the block ends well."""
    temporary = model_dir / f".tmp-{run_id}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(model_dir / run_id)
        point(model_dir, LATEST, run_id)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise StorageError(f"--model-dir {model_dir}: cannot write {run_id}: {error}; check the disk") from None
        raise


def point(model_dir: Path, name: str, run_id: str) -> None:
    """Let model_dir/name be the run, from one moment to the next."""
    link = model_dir / f".tmp-{name}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(run_id)
    link.replace(model_dir / name)


def in_use(model_dir: Path) -> Path | None:
    """The folder of the promoted model, else of the latest; None where there is none."""
    for name in (PROMOTED, LATEST):
        if (model_dir / name).exists():
            return (model_dir / name).resolve()
    return None
