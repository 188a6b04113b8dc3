"""Which device a worker trains on: the GPU that Ray gave it, or its node's CPU."""

import socket
from collections.abc import Callable

import ray

from midas_ray.errors import NodeError


def problem() -> str | None:
    """Why torch cannot use the GPU that Ray gave this worker; None where it can."""
    import torch

    if torch.cuda.is_available():
        return None
    node = f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:8]})"
    found = f"GPU {','.join(map(str, ray.get_gpu_ids()))} of node {node} cannot be used by torch"
    built = f"torch {torch.__version__} has no CUDA" if torch.version.cuda is None else "its driver is not found"
    return f"{found} ({built})"


def accelerator(gpu: bool, fake_gpus: bool, tell: Callable[[str], None]) -> str:
    """`gpu` or `cpu`, for Lightning, in a worker that Ray gave a GPU or not.

    A GPU that torch cannot use stands for a CPU with `fake_gpus` alone, which `tell` is told. Raises NodeError.
    """
    if not gpu:
        return "cpu"
    found = problem()
    if found is None:
        return "gpu"
    if not fake_gpus:
        raise unusable(found)
    tell(f"{found}: training on its CPU")
    return "cpu"


def unusable(found: str) -> NodeError:
    """The error for a `problem` that nobody asked for."""
    return NodeError(f"{found}; install what is missing there, or train on the CPU with --gpus 0")
