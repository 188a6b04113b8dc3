"""What Ray's autoscaler, a process of its own on the head, is told in its command line. Standard library only."""

import sys


def told(flag: str) -> str | None:
    """The value of `--flag=value`; None in every other process."""
    beginning = f"--{flag}="
    return next((word.removeprefix(beginning) for word in sys.argv if word.startswith(beginning)), None)
