"""Where a training stands: what its workers tell. Imports next to nothing, as processes that only hand it on do."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands. Losses are mean pinball losses in scaled units."""

    epoch: int
    """From 1."""
    epochs: int
    batch: int
    batches: int
    step: int
    """Optimiser steps so far."""
    train_loss: float
    """Mean over the epoch so far: of the first worker until the epoch ends, of all then."""
    validation_loss: float | None
    """None until the epoch ends."""
    seconds: float
    """Since training began."""
    validation_bps: float | None = None
    """The validation loss in bps of the price."""
    windows_per_s: float = 0.0
    """Training windows a second since the epoch began, all workers together."""


Report = Callable[[TrainingProgress], None]
