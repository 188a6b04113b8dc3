"""A Ray of several nodes on this machine with as many CPUs as one likes to say it has, for tasks that sleep."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from midas_ray.capture.head import ray_environment
from midas_ray.ray_session import ray_session
from midas_ray.settings import RaySettings
from midas_ray.spread import Result, spread

NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False, "dashboard_agent_listen_port": 0}
LOOK_S = 0.1
START_S = 600.0
"""How long all workers together may take to start: a second or two of a core each."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """A task that ends once `most` of its kind run at the same time, or with an error after a while."""

    folder: str
    most: int


def meet(task: Meeting) -> Result:
    """Work of a `Meeting`. Raises TimeoutError."""
    folder, deadline_s = Path(task.folder), time.monotonic() + START_S
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < task.most:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{len(list(folder.iterdir()))} of {task.most} workers started within {START_S:.0f} s")
        time.sleep(LOOK_S)
    return {}


@contextlib.contextmanager
def nodes(count: int, slots: int) -> Iterator[None]:
    """Inside the block this process is the driver of `count` nodes beside an empty head, with `slots` CPUs in all, on
    each of which a worker is warm."""
    with tempfile.TemporaryDirectory(prefix="midas-nodes-", dir="/tmp") as folder:
        # Ray writes the address of a cluster like this into its folder, where `auto` would find it.
        os.environ["RAY_TMPDIR"] = folder
        os.environ["RAY_AUTH_MODE"] = "disabled"
        ray_environment()
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **NODE})
        try:
            for number in range(count):
                cluster.add_node(num_cpus=slots // count + (number < slots % count), **NODE)
            started = Path(folder, "started")
            started.mkdir()
            with ray_session(RaySettings(ray_address=cluster.address)):
                spread("meet", meet, [Meeting(str(started), slots)] * slots)
                yield
        finally:
            cluster.shutdown()
            shutil.rmtree(Path(folder) / "ray", ignore_errors=True)  # what a process that is ending writes again
