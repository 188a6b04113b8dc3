"""How a training is spread over the running Ray."""

from dataclasses import dataclass

import ray

from midas_ray.errors import UsageError
from midas_ray.settings import NetworkSettings

MOST_CPU_THREADS = 4
THREADS_PAY_FROM = 32
"""Hidden size below which more than one thread only waits: a step takes 268 ms on one core and 245 ms on two at 16, 667
and 441 ms at 64; on a busy machine each of its thousands of small operations waits for the slowest thread."""


@dataclass(frozen=True, slots=True)
class Workers:
    """How a training is spread: `least` workers at any time, and up to `most` where the cluster has room."""

    least: int
    most: int
    gpu: bool
    """One each."""
    threads: int
    """CPU cores and torch threads of each."""

    def sentence(self) -> str:
        count = f"{self.most}" if self.least == self.most else f"{self.least} to {self.most}"
        plural = "s" if self.most > 1 else ""
        if self.gpu:
            return f"{count} GPU worker{plural}"
        each = " each" if self.most > 1 else ""
        return f"{count} CPU worker{plural}, {self.threads} thread{'s' if self.threads > 1 else ''}{each}"

    def count_for_ray(self) -> int | tuple[int, int]:
        return self.most if self.least == self.most else (self.least, self.most)


def check_for_gpu(network: NetworkSettings, has_gpu: bool) -> None:
    """Raises UsageError where something is asked for that a CPU has no use for."""
    for flag, wanted in (("--precision bf16", network.precision == "bf16"), ("--compile", network.compile)):
        if wanted and not has_gpu:
            raise UsageError(f"{flag}: expected a GPU, found none in use; leave it out")


def plan_workers(gpus: int | None, workers: tuple[int, int] | None, hidden_dim: int) -> Workers:
    """Workers for `--gpus` and `--workers` on the running Ray. Raises UsageError where it has too little for them.

    gpus: None = all GPUs there are, 0 = none. workers: least and most; None = one a GPU, or one on the CPU.
    """
    found = int(ray.cluster_resources().get("GPU", 0))
    if gpus is not None and gpus > found:
        raise UsageError(f"--gpus {gpus}: expected at most the {found} that Ray finds; lower it, or 0 for the CPU")
    wanted = found if gpus is None else gpus
    if wanted:
        least, most = workers or (wanted, wanted)
        if least > wanted:
            raise UsageError(
                f"--workers {least}: expected at most one a GPU, found {wanted} GPUs; lower it, or add --gpus 0"
            )
        return Workers(least, most, True, 1)
    least, most = workers or (1, 1)
    cores = int(ray.cluster_resources().get("CPU", 1))
    if least > cores:
        raise UsageError(f"--workers {least}: expected at most the {cores} CPU cores that Ray finds; lower it")
    if hidden_dim < THREADS_PAY_FROM:
        return Workers(least, most, False, 1)
    biggest = max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    free = ray.available_resources().get("CPU", 1)
    return Workers(least, most, False, max(1, int(min(biggest, free // most, MOST_CPU_THREADS))))
