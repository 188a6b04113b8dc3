"""`midas logs`: the logs of the stages, from DATA_DIR/logs, or from its spool where it is an object store."""

import contextlib
import json
import time
from pathlib import Path

from midas_ray import console
from midas_ray.errors import DataError
from midas_ray.log import STAGES, logs_folder
from midas_ray.settings import Logs
from midas_ray.storage import Storage

POLL_S = 0.5
BLOCK_BYTES = 64 * 1024
_LEADING = ("ts", "level", "stage", "part", "event")


def logs(settings: Logs) -> int:
    """Run `midas logs`; gives the exit code. Raises DataError where no stage has logged yet."""
    folder = logs_folder(Storage.of(settings).work_folder)
    paths = log_files(folder, settings.stage)
    if not paths and not settings.follow:
        wanted = "any stage" if settings.stage == "all" else settings.stage
        raise DataError(
            f"{folder}: expected a log of {wanted}, found none; run the stage first (midas up, midas collect)"
        )
    positions = {path: (path.stat().st_ino, path.stat().st_size) for path in paths}
    shown = [readable(line) for path in paths for line in last_lines(path, settings.lines, positions[path][1])]
    for line in sorted(shown, key=lambda line: line.partition(" ")[0]):  # by time; lines of one log keep their order
        console.out.print(line, markup=False)
    with contextlib.suppress(KeyboardInterrupt):
        while settings.follow:
            for path in log_files(folder, settings.stage):
                _print_added(path, positions)
            time.sleep(POLL_S)
    return 0


def log_files(folder: Path, stage: str) -> list[Path]:
    """The growing logs of a stage (`all` = every one), by name."""
    stages = STAGES if stage == "all" else (stage,)
    return sorted(
        path for name in stages for pattern in (f"{name}.log", f"{name}-*.log") for path in folder.glob(pattern)
    )


def last_lines(path: Path, most: int, size: int) -> list[str]:
    """The last lines of the first `size` bytes of a file, read from their end."""
    data = b""
    with path.open("rb") as stream:
        at = size
        while at > 0 and data.count(b"\n") <= most:
            step = min(BLOCK_BYTES, at)
            at -= step
            stream.seek(at)
            data = stream.read(step) + data
    return data.decode("utf-8", "replace").splitlines()[-most:]


def readable(line: str) -> str:
    """A JSON log line as `time level stage part event key=value ...`; any other line as it is."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    if not isinstance(fields, dict):
        return line
    head = [str(fields.pop(name)) for name in _LEADING if name in fields]
    return " ".join([*head, *(f"{name}={value}" for name, value in fields.items())])


def _print_added(path: Path, positions: dict[Path, tuple[int, int]]) -> None:
    """Print the whole lines added since the last call; a rotated file is read on from the start of its successor."""
    try:
        with path.open("rb") as stream:
            inode = path.stat().st_ino
            known_inode, position = positions.get(path, (inode, 0))
            stream.seek(position if inode == known_inode else 0)
            position = stream.tell()
            data = stream.read()
    except FileNotFoundError:
        return  # between the two steps of a rotation
    whole = data[: data.rfind(b"\n") + 1]
    positions[path] = (inode, position + len(whole))
    for line in whole.decode("utf-8", "replace").splitlines():
        console.out.print(readable(line), markup=False)
