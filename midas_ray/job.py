"""What the scripts in jobs/ run: a stage, on the Ray cluster that the job was submitted to."""

import os
from pathlib import Path

from midas_ray import settings
from midas_ray.cli import COMMANDS, Command, call, exit_code_of
from midas_ray.errors import UsageError
from midas_ray.pins import check_versions

STAGES: dict[str, Command] = {
    "collect": Command(settings.Collect, "midas_ray.capture.job:collect"),
    **{
        name: COMMANDS[name]
        for name in ("reconstruct", "features", "validate", "train", "tune", "backtest", "forecast", "pipeline")
    },
}
KEPT_PLACES = ("data_dir", "model_dir", "log_dir", "spool_dir", "report_dir", "output")
"""Settings that say where something is to stay."""


def run_job(stage: str, argv: list[str]) -> int:
    """Run a stage with the command's flags; gives its exit code, 2 for a checkout of another version than the cluster.

    Ray stops a job by SIGTERM: the stage unwinds as it does for Ctrl-C.
    """
    os.environ.setdefault("RAY_ADDRESS", "auto")
    return exit_code_of(lambda: _run(STAGES[stage], stage, argv))


def _run(command: Command, stage: str, argv: list[str]) -> int:
    check_versions()
    values = settings.parse_settings(command.settings_class, stage, argv)
    check_places(values)
    return call(command.target, values)


def check_places(values: settings.MidasSettings) -> None:
    """Raises UsageError where something would be written below the job's own folder, which Ray deletes."""
    for name in KEPT_PLACES:
        place = getattr(values, name, None)
        if place is None or "://" in place or Path(place).expanduser().is_absolute():
            continue
        raise UsageError(
            f"--{name.replace('_', '-')}: expected an absolute path on the cluster, as a job's own folder does not "
            f"stay, found {place!r}"
        )
