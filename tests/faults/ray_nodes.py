"""A Ray of three nodes on loopback, in a process of its own: `python -m tests.faults.ray_nodes DATA_DIR`.

The head has no CPU, so that collectors run on the two others. First it says the cluster's address, then it answers each
line of its input with one line of JSON. Everything ends with its input, or after LIFE_S.

    state     {"healths": of every symbol of the plan, "workers": [{"node", "pid", "title"}]}; nodes: 0 (the head), 1, 2
    kill N    SIGKILL to every process of node N; gives their ids
    metrics   what each node that is alive serves as metrics, by number
    stop      stop the collectors; gives how many did not answer
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, TextIO

from midas_ray.capture.head import ray_environment

LIFE_S = 240
NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False, "dashboard_agent_listen_port": 0}


def main(root: Path, answers: TextIO) -> None:
    """Serve until the input ends."""
    ray_environment()
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **NODE})
    try:
        nodes = [cluster.head_node, *(cluster.add_node(num_cpus=1, **NODE) for _ in range(2))]
        ray.init(address=cluster.address, namespace="midas", log_to_driver=False, logging_level="ERROR")
        print(json.dumps({"address": cluster.address}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(_answer(root, nodes, line.split())), file=answers, flush=True)
        ray.shutdown()
    finally:
        cluster.shutdown()


def _answer(root: Path, nodes: list[Any], question: list[str]) -> Any:
    match question:
        case ["state"]:
            return {"healths": _healths(root), "workers": _workers(nodes)}
        case ["kill", number]:
            return _kill(nodes[int(number)])
        case ["metrics"]:
            return _metrics(nodes)
        case ["stop"]:
            return _stop()
    raise ValueError(f"expected state, kill N, metrics or stop, found {question}")


def _processes(node: Any) -> list[Any]:
    """The raylet of a node, its agents and workers (psutil); none where it has been killed."""
    import ray  # noqa: F401 - puts the psutil it ships on the path
    import psutil  # type: ignore[import-untyped]  # isort: skip

    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [] if raylet.status() == psutil.STATUS_ZOMBIE else [raylet, *raylet.children(recursive=True)]


def _workers(nodes: list[Any]) -> list[dict[str, Any]]:
    found = [
        {"node": at, "pid": process.pid, "title": "".join(process.cmdline()[:1])}
        for at, node in enumerate(nodes)
        for process in _processes(node)
    ]
    return [worker for worker in found if worker["title"].startswith("ray::")]


def _kill(node: Any) -> list[int]:
    killed = []
    for process in _processes(node):
        process.send_signal(signal.SIGKILL)
        killed.append(process.pid)
    return killed


def _metrics(nodes: list[Any]) -> dict[int, str]:
    import ray

    ports = {node["NodeID"]: node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]}
    served = {}
    for at, node in enumerate(nodes):
        if node.node_id in ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[node.node_id]}/metrics", timeout=10) as answer:
                served[at] = answer.read().decode()
    return served


def _healths(root: Path) -> list[dict[str, Any]]:
    import msgspec

    from midas_ray.capture.desired import read_plan
    from midas_ray.capture.detached import cluster_healths

    found: list[dict[str, Any]] = msgspec.to_builtins(cluster_healths(root, read_plan(root)))
    return found


def _stop() -> int:
    from midas_ray.capture.detached import end_limits, find_collectors, stop_collectors

    silent = stop_collectors(find_collectors(), "the test is over", tell=lambda _line: None)
    end_limits()
    return silent


if __name__ == "__main__":
    # Ray writes the address of a cluster like this into its folder, where `auto` would find it.
    folder = os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray-nodes-", dir="/tmp")
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("the time is over"))
    signal.alarm(LIFE_S)
    try:
        with os.fdopen(os.dup(1), "w") as answers:
            os.dup2(2, 1)  # Ray prints that a node has died
            main(Path(sys.argv[1]), answers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
