"""The log of a stage: JSON lines in logs/ under DATA_DIR, or under the spool where that is remote; bounded."""

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

import structlog

from midas_ray.console import out
from midas_ray.errors import StorageError
from midas_ray.storage import Storage

Stage = Literal["collector", "processor", "features"]
STAGES: tuple[Stage, ...] = ("collector", "processor", "features")

LOG_MAX_BYTES = 5 * 2**20
LOG_BACKUPS = 3
"""A log takes at most (1 + backups) x 5 MiB."""


def logs_folder(data_dir: Path) -> Path:
    """Where the logs of all stages lie."""
    return data_dir / "logs"


def stage_logger(data_dir: Path, stage: Stage, part: str | None = None) -> structlog.stdlib.BoundLogger:
    """Logger of a stage, bound to DATA_DIR/logs/<stage>.log, or <stage>-<part>.log.

    Rotation is not safe between processes: what runs in several (a collector for each group) gives each its `part`.
    Raises StorageError where the file cannot be written.
    """
    name = stage if part is None else f"{stage}-{part}"
    path = logs_folder(data_dir) / f"{name}.log"
    logger = logging.getLogger(f"midas_ray.{name}:{path}")
    if not logger.handlers:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = RotatingFileHandler(path, maxBytes=LOG_MAX_BYTES, backupCount=LOG_BACKUPS, encoding="utf-8")
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; check the disk and permissions") from None
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logger,
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return bound.bind(stage=stage) if part is None else bound.bind(stage=stage, part=part)


class Reporter:
    """Results of a stage: printed, and kept in its log on this machine."""

    def __init__(self, storage: Storage, stage: Stage) -> None:
        self._log = stage_logger(storage.work_folder, stage)

    def result(self, line: str) -> None:
        """A line of results, for the terminal and the log."""
        out.print(line)
        self._log.info(line)

    def note(self, line: str) -> None:
        """How far the work is, for the log."""
        self._log.info(line)

    def failure(self, line: str) -> None:
        """A failure, for the log: the error that is raised tells the user."""
        self._log.error(line)
