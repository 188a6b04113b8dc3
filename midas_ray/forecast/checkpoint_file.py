"""Reading a checkpoint, which a rented machine may have written: tensors and plain values, never code.

A pickle runs what it names as it is read; torch's `weights_only` lets nothing be named but its own tensors. Lightning
writes no more than these for our trainings, hyper-parameters apart, which they do not keep there.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from midas_ray.errors import CorruptFileError

CHECKPOINT_FILE = "checkpoint.ckpt"
WEIGHTS = "network."
"""Prefix of the network's weights in a checkpoint."""
_DAMAGED = (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError)
"""What torch.load and a file of something else raise."""
_NAMED = re.compile(r"GLOBAL (\S+)")
"""How torch says what a file wanted to have run."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """As Lightning wrote it. Raises CorruptFileError for a file that is damaged, or holds anything but data."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        epoch, weights = stored["epoch"], stored["state_dict"]
        whole = isinstance(epoch, int) and all(isinstance(value, torch.Tensor) for value in weights.values())
    except (*_DAMAGED, AttributeError) as error:
        named = _NAMED.search(str(error))
        found = (
            f"the code {named[1]} in it" if named else f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        )
        raise _refused(path, found) from None
    if not whole:
        raise _refused(path, "something else")
    return dict(stored)


def _refused(path: Path, found: str) -> CorruptFileError:
    return CorruptFileError(
        f"{path.name}: expected a checkpoint of tensors and plain values, found {found}; nothing of it was run: train "
        "anew, on another machine if a rented one wrote it"
    )


def weights_of(stored: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The network's, by their own names."""
    return {
        name.removeprefix(WEIGHTS): value for name, value in stored["state_dict"].items() if name.startswith(WEIGHTS)
    }
