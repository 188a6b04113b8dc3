"""The `midas` command: finds the command's settings and its function, and turns errors into one line. No logic here."""

import importlib
import sys
from collections.abc import Callable
from typing import NamedTuple

from midas_ray import __version__, settings
from midas_ray.errors import MidasError, UsageError
from midas_ray.interrupt import Terminated, termination_unwinds


class Command(NamedTuple):
    """A command: its settings class and `module:function`, which takes the settings and gives the exit code."""

    settings_class: type[settings.MidasSettings]
    target: str


COMMANDS: dict[str, Command] = {
    "demo": Command(settings.Demo, "midas_ray.demo:demo"),
    "doctor": Command(settings.Doctor, "midas_ray.doctor.run:doctor"),
    "up": Command(settings.Up, "midas_ray.capture.service:up"),
    "down": Command(settings.Down, "midas_ray.capture.service:down"),
    "status": Command(settings.Status, "midas_ray.capture.service:status"),
    "dashboards": Command(settings.Dashboards, "midas_ray.dashboards:dashboards"),
    "logs": Command(settings.Logs, "midas_ray.capture.logs:logs"),
    "stats": Command(settings.Stats, "midas_ray.stats:stats"),
    "collect": Command(settings.Collect, "midas_ray.capture.foreground:collect"),
    "simulate": Command(settings.Simulate, "midas_ray.simulate.run:simulate"),
    "import": Command(settings.Import, "midas_ray.importers.run:import_archives"),
    "reconstruct": Command(settings.Reconstruct, "midas_ray.reconstruct.run:reconstruct"),
    "features": Command(settings.Features, "midas_ray.live.run:features"),
    "validate": Command(settings.Validate, "midas_ray.quality.run:validate"),
    "train": Command(settings.Train, "midas_ray.forecast.run:train"),
    "tune": Command(settings.Tune, "midas_ray.forecast.tuning.run:tune"),
    "tensorboard": Command(settings.Tensorboard, "midas_ray.forecast.run:tensorboard"),
    "forecast": Command(settings.Forecast, "midas_ray.forecast.live.run:forecast"),
    "models": Command(settings.Models, "midas_ray.registry.run:models"),
    "audit": Command(settings.Audit, "midas_ray.audit.run:audit"),
    "backtest": Command(settings.Backtest, "midas_ray.evaluate.run:backtest"),
    "vast": Command(settings.Vast, "midas_ray.cloud.vast_command:vast"),
    "pipeline": Command(settings.Pipeline, "midas_ray.pipeline:pipeline"),
    "clean-data": Command(settings.CleanData, "midas_ray.retention.run:clean_data"),
}


def _summary(command: Command) -> str:
    return (command.settings_class.__doc__ or "").strip().splitlines()[0]


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    rows = [f"  {name:<{width}}{_summary(command)}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: midas COMMAND [OPTIONS]",
            "",
            "From an exchange's order book to a judged forecast, on Ray.",
            "",
            "commands:",
            *rows,
            "",
            "midas COMMAND --help shows the options of a command, with units and defaults.",
            "midas --version prints the version.",
        ]
    )


def run_command(name: str, argv: list[str]) -> int:
    """Run command `name` with flags `argv`; gives its exit code. Raises MidasError."""
    if name not in COMMANDS:
        raise UsageError(f"midas: no command {name!r}; expected one of {', '.join(COMMANDS)}")
    command = COMMANDS[name]
    return call(command.target, settings.parse_settings(command.settings_class, name, argv))


def call(target: str, values: settings.MidasSettings) -> int:
    """Call `module:function` with a command's settings; gives the exit code. Raises MidasError."""
    module, _, name = target.partition(":")
    function: Callable[[settings.MidasSettings], int] = getattr(importlib.import_module(module), name)
    return function(values)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `midas`. Exit code 0 only if the command did its job."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_help() + "\n")
        return 0 if arguments else 2
    if arguments[0] in {"--version", "-V"}:
        sys.stdout.write(f"midas {__version__}\n")
        return 0
    name, rest = arguments[0], arguments[1:]
    return exit_code_of(lambda: run_command(name, rest))


def exit_code_of(work: Callable[[], int]) -> int:
    """Do a command's work; what ends it early is one line on standard error. Gives the exit code."""
    try:
        with termination_unwinds():
            return work()
    except MidasError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except Terminated:
        sys.stderr.write("terminated\n")
        return 143
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
