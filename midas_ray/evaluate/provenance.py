"""Where a judgement comes from: the command, and the code it depends on."""

import shlex
import sys
from pathlib import Path

from midas_ray.object_store import shown_uri

CODE = ("features", "dataset", "forecast", "forecast/baselines", "evaluate", "evaluate/trading")
"""Packages whose sources a judgement depends on."""


def command_line() -> str:
    """How this judgement was asked for, without the credentials that an address may hold."""
    if Path(sys.argv[0]).name != "midas":
        return "midas backtest"
    return shlex.join(["midas", *(_without_credentials(word) for word in sys.argv[1:])])


def _without_credentials(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{shown_uri(value)}"
