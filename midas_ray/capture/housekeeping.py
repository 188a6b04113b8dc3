"""What a head node that runs for months needs: its session folder under /tmp stays whole and does not grow.

Systems clean /tmp of files that nobody touched for days, Ray's sockets' neighbours among them; systemd-tmpfiles leaves
alone what lies below a folder that a process has locked (tmpfiles.d(5)). And Ray keeps the logs of every process that
ever joined, those of each `midas status` among them.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from midas_ray.capture.head import read_head
from midas_ray.errors import MidasError

KEEP_LOGS_S = 7 * 24 * 3600
"""Logs of processes that have ended are kept for a week."""
_PROCESS_LOG = re.compile(r"(?:worker|python-core-driver|python-core-worker|io-worker|runtime_env|job-driver)[-_].*")
_PID = re.compile(r"[-_](\d+)(?:\.\w+)*$")


@contextlib.contextmanager
def keep_session(root: Path) -> Iterator[Callable[[], None]]:
    """Inside the block nothing cleans away the session folder of the data folder's own head; gives what tidies it.

    Where the cluster is not one that `midas up` started, its folders are its owner's to keep.
    """
    folder = _session_folder(root)
    if folder is None:
        yield lambda: None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield lambda: tidy_logs(folder, time.time())
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


def _session_folder(root: Path) -> Path | None:
    with contextlib.suppress(MidasError):
        head = read_head(root)
        if head is not None and Path(head.temp_dir).is_dir():
            return Path(head.temp_dir)
    return None
