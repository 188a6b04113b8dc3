"""Out of memory, told as advice: which flag to lower, and by how much the next attempt would fit, tried on the spot."""

import contextlib
import gc
from collections.abc import Iterator

import numpy as np
import torch

from midas_ray.errors import MemoryLimitError
from midas_ray.forecast.training_set import TrainingSet, new_module

_CPU_MESSAGES = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "could not create a primitive",
)
"""What torch's RuntimeError says where the operating system refuses; the last by oneDNN, for whatever reason, which is
why a smaller step is tried before anything is said of it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of the GPU or of the machine, has run out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _CPU_MESSAGES)


@contextlib.contextmanager
def out_of_memory_explained(training: TrainingSet, device: str, world: int = 1) -> Iterator[None]:
    """Inside the block running out of memory raises MemoryLimitError, which says what would fit."""
    failed = False
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    if failed:  # here nothing of what did not fit is held by the exception any more
        raise MemoryLimitError(_advice(training, device, world))


def _advice(training: TrainingSet, device: str, world: int) -> str:
    network = training.network
    place = "GPU memory" if device.startswith("cuda") else "memory"
    asked = f"out of {place}: --batch-size {network.batch_size}, --hidden-dim {network.hidden_dim}, --input-length "
    asked += f"{network.input_length} do not fit"
    share = largest_batch_that_fits(training, device, network.batch_size // world // 2)
    if share is None:
        return f"{asked}, nor does a single window; lower --hidden-dim to {max(4, network.hidden_dim // 2)}"
    return f"{asked}; a step with --batch-size {share * world} does, tried just now: lower it to that"


def largest_batch_that_fits(training: TrainingSet, device: str, most: int) -> int | None:
    """Windows of the largest whole step (loss, gradients, Adam) that fits, of `most`, half of it, a quarter ...

    None where not even one window does.
    """
    size = max(1, most)
    while True:
        if _fits(training, device, size):
            return size
        if size == 1:
            return None
        size //= 2


def _fits(training: TrainingSet, device: str, windows: int) -> bool:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    try:
        module = new_module(training).to(device)
        # The same window again where there are fewer: what counts is the size.
        x, target = training.train[np.arange(windows) % len(training.train)]
        moved = {name: tensor.to(device) for name, tensor in x.items()}
        optimizer = module.configure_optimizers()
        module.training_step((moved, target.to(device)), 0).backward()
        optimizer.step()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
