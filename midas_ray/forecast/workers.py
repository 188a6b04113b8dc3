"""How a training is spread over the running Ray."""

from dataclasses import dataclass

from midas_ray.errors import UsageError
from midas_ray.forecast.room import Room
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
    one_node: bool = False
    """All on one node: elsewhere they would not reach each other."""
    to_come: bool = False
    """The cluster lacks the GPUs: its autoscaler is to bring a node."""

    def sentence(self) -> str:
        count = f"{self.most}" if self.least == self.most else f"{self.least} to {self.most}"
        plural = "s" if self.most > 1 else ""
        if self.gpu:
            return f"{count} GPU worker{plural}"
        each = " each" if self.most > 1 else ""
        return f"{count} CPU worker{plural}, {self.threads} thread{'s' if self.threads > 1 else ''}{each}"

    def count_for_ray(self) -> int | tuple[int, int]:
        return self.most if self.least == self.most else (self.least, self.most)

    def resources(self) -> dict[str, float]:
        """What each worker takes. A GPU comes without CPU cores: nodes that are rented for their GPUs offer none, lest
        a task that only wants a core had them rented."""
        return {"GPU": 1} if self.gpu else {"CPU": self.threads}

    def placement(self) -> str:
        """Ray's placement strategy."""
        return "STRICT_PACK" if self.one_node else "PACK"


def check_for_gpu(network: NetworkSettings, has_gpu: bool) -> None:
    """Raises UsageError where something is asked for that a CPU has no use for."""
    for flag, wanted in (("--precision bf16", network.precision == "bf16"), ("--compile", network.compile)):
        if wanted and not has_gpu:
            raise UsageError(f"{flag}: expected a GPU, found none in use; leave it out")


def plan_workers(gpus: int | None, workers: tuple[int, int] | None, hidden_dim: int, room: Room) -> Workers:
    """Workers for `--gpus` and `--workers`. Raises UsageError where there is too little for them.

    gpus: None = all GPUs there are now, 0 = none; more than there are only where the autoscaler may bring a node, which
    costs money. workers: least and most; None = one a GPU, or one on the CPU.
    """
    found = room.gpus_for_one
    if gpus is not None and gpus > found and not room.grows:
        on_one_node = " on one node" if room.one_node else ""
        raise UsageError(
            f"--gpus {gpus}: expected at most the {found} that Ray finds{on_one_node}; lower it, or 0 for the CPU"
        )
    wanted = found if gpus is None else gpus
    if wanted:
        least, most = workers or (wanted, wanted)
        if least > wanted:
            raise UsageError(
                f"--workers {least}: expected at most one a GPU, found {wanted} GPUs; lower it, or add --gpus 0"
            )
        if room.one_node or wanted > found:  # how many fit on one node does not change
            least = most = min(most, wanted)
        largest = room.gpus_of_largest_type
        if room.one_node and largest is not None and most > max(found, largest):
            raise UsageError(
                f"--gpus {gpus}: expected at most the {largest} of the largest node type in cluster.yaml, as the "
                "workers of one training are on one node; lower it, add a type with more GPUs, or 0 for the CPU"
            )
        return Workers(least, most, True, 1, room.one_node, to_come=wanted > found)
    return _on_cpus(workers or (1, 1), hidden_dim, room)


def _on_cpus(workers: tuple[int, int], hidden_dim: int, room: Room) -> Workers:
    least, most = workers
    cores = int(room.cpus_of_largest if room.one_node else room.cpus)
    if least > cores:
        on_one_node = " of one node" if room.one_node else ""
        raise UsageError(
            f"--workers {least}: expected at most the {cores} CPU cores{on_one_node} that Ray finds; lower it"
        )
    if room.one_node:
        least = most = min(most, cores)
    if hidden_dim < THREADS_PAY_FROM:
        return Workers(least, most, False, 1, room.one_node)
    threads = max(1, int(min(room.cpus_of_largest, room.free_cpus // most, MOST_CPU_THREADS)))
    return Workers(least, most, False, threads, room.one_node)
