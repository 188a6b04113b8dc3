"""Where data lie: writable, and with room."""

import os
import shutil
from pathlib import Path

from midas_ray import console
from midas_ray.doctor.finding import Finding
from midas_ray.errors import StorageError
from midas_ray.storage import WRITER_NOTE, Storage

LEAST_DISK_GB = 2.0


def check_data_dir(storage: Storage) -> list[Finding]:
    """DATA_DIR; where it is an object store, the spool on this machine too."""
    if storage.is_local:
        return [check_disk("DATA_DIR", storage.local_path(), "--data-dir")]
    spool = check_disk("spool", storage.work_folder, "--spool-dir")
    try:
        storage.check_writable()
        storage.read_bytes(WRITER_NOTE)
        storage.list_files(".midas")
    except StorageError as error:
        return [Finding("DATA_DIR", str(error), False), spool]
    return [Finding("DATA_DIR", f"{storage.shown}, can be listed, read and written", True), spool]


def check_disk(name: str, folder: Path, flag: str) -> Finding:
    """Free space where a folder lies, or will lie. flag: what chooses it."""
    there = folder
    while not there.is_dir():
        there = there.parent
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    found = f"{folder}, {console.size_text(free)} free" + ("" if writable else ", not writable")
    advice = f"expected a writable folder with {LEAST_DISK_GB:.0f} GB free: choose another {flag} or make room"
    return Finding(name, found, writable and free >= LEAST_DISK_GB * 1e9, advice)
