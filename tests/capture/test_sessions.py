"""Ray's session folders under /tmp: kept whole, kept small, removed."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from midas_ray.capture.sessions import (
    KEEP_LOGS_S,
    SESSION_PREFIX,
    keep_session,
    mark_session,
    remove_old_sessions,
    tidy_logs,
)


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_old_logs_of_dead_processes_go(tmp_path: Path) -> None:
    logs = tmp_path / "session_x" / "logs"
    logs.mkdir(parents=True)
    dead, now_s = _dead_pid(), 1.8e9
    old, young = now_s - KEEP_LOGS_S - 1, now_s - KEEP_LOGS_S + 1
    ages = {
        f"python-core-driver-0a00ffff_{dead}.log": old,
        f"worker-aa-01000000-{dead}.err": old,
        f"worker-bb-01000000-{dead}.out": young,
        f"worker-cc-01000000-{os.getpid()}.out": old,
        "gcs_server.out": old,
        "raylet.out.1": old,
        "dashboard.log": old,
    }
    for name, at_s in ages.items():
        (logs / name).touch()
        os.utime(logs / name, (at_s, at_s))
    removed = tidy_logs(tmp_path, now_s)
    assert sorted(path.name for path in removed) == sorted(list(ages)[:2])
    assert sorted(path.name for path in logs.iterdir()) == sorted(list(ages)[2:])
    assert tidy_logs(tmp_path, now_s) == []


def test_a_kept_session_is_locked_against_cleaning(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)  # as systemd-tmpfiles does before it cleans a folder
    with keep_session(tmp_path), keep_session(tmp_path), pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    with keep_session(None) as tidy, keep_session(tmp_path / "gone"):
        tidy()


def test_sessions_left_behind_are_removed_and_no_others(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    folders = {name: Path(tempfile.mkdtemp(prefix=SESSION_PREFIX, dir="/tmp")) for name in ("own", "other", "used")}
    for name, root in (("own", tmp_path), ("other", other), ("used", tmp_path)):
        mark_session(folders[name], root)
    user = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", str(folders["used"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert user.stdout is not None
        user.stdout.readline()
        removed = remove_old_sessions(tmp_path)
        assert folders["own"] in removed
        assert [name for name, folder in folders.items() if folder.exists()] == ["other", "used"]
    finally:
        user.communicate()
        for folder in (folders["other"], folders["used"]):
            (folder / "midas-data-dir").unlink(missing_ok=True)
            folder.rmdir()
