"""The session folders of head nodes under /tmp: whole for as long as a head runs, not growing, gone afterwards.

Systems clean /tmp of files that nobody touched for days, Ray's sockets' neighbours among them; systemd-tmpfiles leaves
alone what lies below a folder that a process has locked (tmpfiles.d(5)). And Ray keeps the logs of every process that
ever joined, those of each `midas status` among them.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SESSION_PREFIX = "ray-midas-"
MARK = "midas-data-dir"
FOLDER_VARIABLE = "MIDAS_SESSION_FOLDER"
"""In the environment of a head's processes."""
KEEP_LOGS_S = 7 * 24 * 3600
"""Logs of processes that have ended are kept for a week."""
_PROCESS_LOG = re.compile(r"(?:worker|python-core-driver|python-core-worker|io-worker|runtime_env|job-driver)[-_].*")
_PID = re.compile(r"[-_](\d+)(?:\.\w+)*$")


def session_folder() -> Path | None:
    """The session folder of the head that `midas up` started, in its workers; None on any other cluster."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder and Path(folder).is_dir() else None


def mark_session(folder: Path, root: Path) -> None:
    """Note in a session folder whose it is, for `remove_old_sessions`."""
    (folder / MARK).write_text(str(root))


def remove_old_sessions(root: Path) -> list[Path]:
    """Remove the session folders that this data folder, or one that is gone, left behind; gives them.

    Call where no head of `root` runs. One that a process still names is left alone.
    """
    named = _named_by_processes()
    removed = []
    for folder in Path("/tmp").glob(f"{SESSION_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or gone in the meantime
            owner = Path((folder / MARK).read_text())
            if (owner == root or not owner.exists()) and not any(str(folder) in line for line in named):
                shutil.rmtree(folder)
                removed.append(folder)
    return removed


def _named_by_processes() -> list[str]:
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(entry.read_bytes().decode("utf-8", "replace"))
    return [line for line in lines if SESSION_PREFIX in line]


@contextlib.contextmanager
def keep_session(folder: Path | None) -> Iterator[Callable[[], None]]:
    """Inside the block nothing cleans a head's session folder away; gives what tidies it.

    None: the cluster is not one that `midas up` started, and its folders are its owner's to keep.
    """
    if folder is None or not folder.is_dir():
        yield lambda: None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)

        def tidy() -> None:
            tidy_logs(folder, time.time())

        yield tidy
    finally:
        os.close(descriptor)


def tidy_logs(folder: Path, now_s: float) -> list[Path]:
    """Remove the logs below `folder` of processes that ended more than a week ago; gives what was removed."""
    removed = []
    for path in folder.glob("session_*/logs/*"):
        with contextlib.suppress(OSError):  # another collector of this node removes the same ones
            if _is_dead_log(path) and now_s - path.stat().st_mtime > KEEP_LOGS_S:
                path.unlink()
                removed.append(path)
    return removed


def _is_dead_log(path: Path) -> bool:
    if not _PROCESS_LOG.match(path.name) or not path.is_file():
        return False
    pid = _PID.search(path.name)
    return pid is None or not Path("/proc", pid[1]).exists()
