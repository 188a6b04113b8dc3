"""python -m benchmarks.cluster_empty FOLDER COUNT: a head as `midas up` starts it, and COUNT actors that do nothing.

The floor of `cluster_collectors`: prints how long it took until all had answered, and the memory of one, as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cluster_collectors import usage
from midas_ray.capture.head import connect, stop_head
from midas_ray.capture.head_start import start_head

PORT = 8765


class Empty:
    """Says that it is there."""

    async def here(self) -> bool:
        return True


def main(root: Path, count: int) -> dict[str, Any]:
    """Seconds until `count` actors have answered, and MB of one."""
    before_s = time.perf_counter()
    head = start_head(root, PORT, autoscaling=None, before=None)
    try:
        connect(head)
        import ray

        actors = [
            ray.remote(Empty).options(name=f"empty-{number}", lifetime="detached", num_cpus=0.02).remote()
            for number in range(count)
        ]
        ray.get([actor.here.remote() for actor in actors])
        seconds, used = time.perf_counter() - before_s, usage(head, "Empty")
        ray.shutdown()
    finally:
        stop_head(root, head)
    return {"seconds": seconds, "own_mb": used.own_mb / used.count}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
