"""Scenarios of a cluster in which something goes wrong; the account is empty at the end of each.

By hand, with an API that is down for ten minutes:
`python -m tests.cluster.outer tests.cluster.failures:faults_in_a_row 600`.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from midas_ray.cloud.fake import Script
from midas_ray.cloud.fake import machine_faults as faults
from midas_ray.cloud.fake.script import Plan
from tests.cluster.launched import Launched
from tests.cluster.rig import Rig, rig, wait_for
from tests.cluster.whole_path import DELAYS, MAKE_FEATURES, TRAIN

LONG = ("--epochs", "40", "--patience", "40", "--max-restarts", "6")


@contextmanager
def cluster(script: Script, changes: dict[str, Any] | None = None) -> Iterator[tuple[Rig, Launched, str]]:
    """A cluster that is up, with features on its head; gives the place, the laptop and DATA_DIR."""
    with rig(script) as place:
        laptop = Launched(place, place.server("head"), changes)
        try:
            assert laptop.up().returncode == 0
            data = laptop.on_head("realpath ~/midas-data").strip()
            laptop.on_head(f"{MAKE_FEATURES} {data}")
            laptop.forward_dashboard()
            yield place, laptop, data
        finally:
            laptop.close()


def what_does_not_come_up_is_replaced() -> dict[str, Any]:
    """The first instance never starts, the second takes no SSH, the third works."""
    script = Script(loading_s=1.0, plans=[Plan(outcome="never_starts"), Plan(outcome="no_ssh"), Plan()])
    changes = {"provider.start_timeout_minutes": 0.4, "provider.ssh_timeout_minutes": 0.4}
    with cluster(script, changes) as (place, laptop, data):
        job = laptop.submit(*(word.format(data=data) for word in TRAIN))
        status = laptop.status()
        laptop.wait_live(0)
        laptop.down()
        ever = place.fake.instances()
        return {
            "job": job.returncode,
            "said": job.stdout[-3000:],
            "machines": [one["machine_id"] for one in ever],
            "live": len(place.fake.live()),
            "problems": status["problems"],
        }


def a_node_dies_in_a_training() -> dict[str, Any]:
    """The host is gone in the middle; then the next one is outbid; the third brings the training to its end."""
    changes = {"available_node_types.gpu.node_config.market": "bid"}
    with cluster(DELAYS, changes) as (place, laptop, data):
        words = [word.format(data=data) for word in (*TRAIN, *LONG)]
        laptop.begin(*words)
        _wait_epochs(laptop, 2)
        first = place.fake.live()[0]["id"]
        place.machines.of_instance(first).kill()
        place.fake.steer(force={str(first): "offline"})
        _wait_other(place, {first})
        second = place.fake.live()[0]["id"]
        _wait_epochs(laptop, 6)
        place.fake.steer(force={str(second): "outbid"})
        _wait_other(place, {first, second})
        wait_for("the model", lambda: "best_model.pt" in _model(laptop, data), 400)
        jobs = laptop.on_head("ray job list --address http://127.0.0.1:8265 2>&1 | tail -n 40")
        log = laptop.on_head(f"cat {JOB_LOG}")
        problems = laptop.status()["problems"]
        laptop.wait_live(0)
        laptop.down()
        return {
            "ever": len(place.fake.instances()),
            "live": len(place.fake.live()),
            "jobs": jobs[-3000:],
            "log": log,
            "problems": problems,
        }


def faults_in_a_row(api_down_s: float) -> dict[str, Any]:
    """One cluster and one thing after the other, as each costs a minute; what each gave, by its name."""
    one_node = {"max_workers": 1, "available_node_types.gpu.max_workers": 1}  # or a training may move to another
    with cluster(DELAYS, {"idle_timeout_minutes": 0.2} | one_node) as (place, laptop, data):
        too_many = laptop.submit(*(word.format(data=data) for word in (*TRAIN, "--gpus", "9")))
        refused = {"code": too_many.returncode, "said": too_many.stdout, "ever": len(place.fake.instances())}
        put(place, laptop, "hold.py", HOLD)
        laptop.on_head("python ~/hold.py begin", timeout_s=240)
        return {
            "too many": refused,
            "host key": another_host_key(place, laptop),
            "restart": the_head_restarts(place, laptop),
            "api": the_api_is_down(place, laptop, api_down_s),
            "disk": the_disk_of_a_node_is_full(place, laptop, data),
            "two": two_clusters(place, laptop),
            "live": len(place.fake.live()),
        }


def another_host_key(place: Rig, laptop: Launched) -> dict[str, Any]:
    """A node shows another host key after its connection was cut: it is let go, another one comes."""
    first = place.fake.live()[0]["id"]
    faults.change_host_key(place.machines.of_instance(first))
    laptop.on_head("pkill -x ssh || true")
    _wait_other(place, {first})
    return {"problems": laptop.status()["problems"], "counted": _counted(laptop)}


def the_head_restarts(place: Rig, laptop: Launched) -> dict[str, Any]:
    """A node is up with an actor on it; the head's Ray is killed and started again; the node is adopted."""
    before = [one["id"] for one in place.fake.live()], _counted(laptop)
    laptop.on_head("pkill -9 -x gcs_server; pkill -9 -x raylet; sleep 1")
    laptop.on_head(f"{START} || {{ tail -n 40 ~/midas-data/logs/ray-head.log; false; }}", timeout_s=300)
    return {"before": before, "after": ([one["id"] for one in place.fake.live()], _counted(laptop))}


def the_api_is_down(place: Rig, laptop: Launched, seconds: float) -> dict[str, Any]:
    """A node goes on without the API; one that is idle in the meantime is destroyed as soon as that answers."""
    node = place.fake.live()[0]["id"]
    place.fake.steer(down_s=seconds)
    began = time.monotonic()
    time.sleep(seconds / 2)
    counted, alive = _counted(laptop), [one["id"] for one in place.fake.live()]
    laptop.on_head("python ~/hold.py end", timeout_s=120)
    time.sleep(max(0.0, seconds - 1 - (time.monotonic() - began)))
    told = {"until_the_end": [one["id"] for one in place.fake.live()], "status": laptop.status()}
    return told | {"node": node, "counted": counted, "alive": alive, "wait_s": laptop.wait_live(0, 240)}


def the_disk_of_a_node_is_full(place: Rig, laptop: Launched, data: str) -> dict[str, Any]:
    """In the middle of a training: the job ends with the node's name and what is kept; the node goes."""
    known = {one["id"] for one in place.fake.instances()}
    longer = ("--epochs", "400", "--patience", "400")  # it must not end before the disk is full
    laptop.begin(*(word.format(data=data) for word in (*TRAIN, *LONG, *longer)))
    _wait_epochs(laptop, 2)
    node = min({one["id"] for one in place.fake.live()} - known)
    machine = place.machines.of_instance(node)
    for folder in (None, Path("/tmp")):
        faults.fill_disk(machine, folder)
    wait_for("the job's end", lambda: "JobStatus.RUNNING" not in laptop.on_head(JOBS), 240)
    log = laptop.on_head(f"cat $(ls -tr {JOB_LOG})")
    kept = laptop.on_head(f"ls {data}/models/latest 2>/dev/null || true")
    laptop.wait_live(0, 240)
    return {"node": node, "log": log[-3000:], "model": kept}


def two_clusters(place: Rig, laptop: Launched) -> dict[str, Any]:
    """Another cluster on the account: `ray down` of the first leaves its node, which goes on working."""
    other = Launched(place, place.server("other"), {"cluster_name": "other"}, folder="other-checkout")
    assert other.up().returncode == 0
    nodes = []
    for each in (laptop, other):
        known = {one["id"] for one in place.fake.live()}
        put(place, each, "hold.py", HOLD)
        each.on_head("python ~/hold.py begin", timeout_s=240)
        nodes += [one["id"] for one in place.fake.live() if one["id"] not in known]
    down = laptop.down().returncode
    left = [one["id"] for one in place.fake.live()]
    counted = _counted(other)
    return {"nodes": nodes, "left": left, "counted": counted, "downs": [down, other.down().returncode]}


HOLD = """
import sys
import ray
ray.init(address='auto', namespace='test', log_to_driver=False, logging_level='ERROR')
if sys.argv[1] == 'begin':
    @ray.remote(num_gpus=1, num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Holder:
        def __init__(self): self.n = 0
        def count(self): self.n += 1; return self.n
    holder = Holder.options(name='holder', lifetime='detached').remote()
    print(ray.get(holder.count.remote(), timeout=200))
elif sys.argv[1] == 'look':
    print(ray.get(ray.get_actor('holder').count.remote(), timeout=120))
else:
    ray.kill(ray.get_actor('holder'))
"""


def put(place: Rig, laptop: Launched, name: str, text: str) -> None:
    """A file in the home of the head."""
    subprocess.run([*place.ssh(laptop.head), f"cat > ~/{name}"], input=text, text=True, check=True)


START = "bash ~/midas/cluster/start_head.sh"
JOBS = "ray job list --address http://127.0.0.1:8265 2>&1 | grep submission_id"
JOB_LOG = "/tmp/ray-midas-*/session_latest/logs/job-driver-raysubmit*.log"


def _wait_epochs(laptop: Launched, number: int) -> None:
    """Until the training has told of so many epochs."""
    said = f'cat {JOB_LOG} 2>/dev/null | grep -c "^epoch " || true'
    wait_for(f"{number} epochs", lambda: int(laptop.on_head(said).split()[0]) >= number, 300)


def _counted(laptop: Launched) -> int:
    """What the actor on the node has counted: one more each time, as long as it is the same one."""
    return int(laptop.on_head("python ~/hold.py look", timeout_s=180).split()[-1])


def _model(laptop: Launched, data: str) -> str:
    return laptop.on_head(f"ls {data}/models/latest/ 2>/dev/null || true")


def _wait_other(place: Rig, gone: set[int]) -> None:
    """Until a node is rented that is none of these."""
    wait_for("another node", lambda: bool({one["id"] for one in place.fake.live()} - gone), 240)
