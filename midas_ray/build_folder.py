"""A local folder in which raw files are made that belong into the data folder: importers and simulated history."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from midas_ray.storage import Storage


@contextmanager
def build_folder(storage: Storage, purpose: str) -> Iterator[Path]:
    """A folder beside the data, on the same disk, or under the spool where the data folder is an object store.

    It is gone when the block ends, or at the next one of this `purpose` if the process is killed.
    """
    prefix = f".tmp-{purpose}-"
    folder = storage.work_folder / f"{prefix}{os.getpid()}"
    for left in (folder, *folder.parent.glob(f"{prefix}*")):
        if left == folder or not _is_running(int(left.name.rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
