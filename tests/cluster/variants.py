"""The YAMLs of `cluster/`: the whole cluster on one rented machine; machines of one's own in a network that is open."""

from pathlib import Path
from typing import Any

from midas_ray.cloud.fake.machine import Machine
from tests.cluster.failures import put
from tests.cluster.launched import Launched
from tests.cluster.rig import Rig, rig, wait_for
from tests.cluster.whole_path import DELAYS, MAKE_FEATURES, TRAIN

ONE_INSTANCE, ON_PREMISES = "cluster/one-instance.yaml", "cluster/on-premises.yaml"
EVERYWHERE = """
import sys
import ray
ray.init(address='auto', log_to_driver=False, logging_level='ERROR')
@ray.remote(num_cpus=1, scheduling_strategy='SPREAD')
def where():
    import time, midas_ray
    time.sleep(0.5)
    return ray.get_runtime_context().get_node_id()
print(len(set(ray.get([where.remote() for _ in range(8)]))))
"""


def one_instance() -> dict[str, Any]:
    """`ray up` rents the head itself; a training on its (fake) GPU; `ray down` destroys it."""
    changes = {
        "available_node_types.head.resources": {"CPU": 1, "GPU": 1},
        "available_node_types.head.node_config.min_cpu_cores": 1,
    }
    with rig(DELAYS) as place:
        laptop = Launched(place, place.server("unused"), changes, yaml_file=ONE_INSTANCE)
        try:
            up = laptop.up()
            live = place.fake.live()
            laptop.head = place.machines.of_instance(live[0]["id"])
            data = laptop.on_head("realpath ~/midas-data").strip()
            laptop.on_head(f"{MAKE_FEATURES} {data}")
            laptop.forward_dashboard()
            job = laptop.submit(*(word.format(data=data) for word in TRAIN))
            models = laptop.on_head(f"ls {data}/models/latest/").split()
            keys = laptop.on_head("ls ~/*.pem ~/.ssh/id_* ~/.midas/vast_api_key 2>/dev/null || true").split()
            again = laptop.up().returncode
            down = laptop.down()
            return {
                "up": up.returncode,
                "again": again,
                "rented": len(live),
                "job": job.returncode,
                "said": job.stdout[-3000:],
                "models": models,
                "keys": keys,
                "down": down.returncode,
                "live": len(place.fake.live()),
                "ever": len(place.fake.instances()),
            }
        finally:
            laptop.close()


def on_premises() -> dict[str, Any]:
    """A head and a worker by SSH, without the provider: tasks run on both."""
    with rig(DELAYS) as place:
        head, worker = place.server("head"), place.server("worker")
        for machine in (head, worker):
            machine.must("ip rule del pref 102")  # every port is open here
        config = "".join(f"Host {machine.host}\n  Port {machine.port}\n" for machine in (head, worker))
        (Path.home() / ".ssh" / "config").write_text(config)
        head.must(f"mkdir -p ~/.ssh && printf '{config}' > ~/.ssh/config && chmod 600 ~/.ssh/config")
        changes = {"provider.head_ip": head.host, "provider.worker_ips": [worker.host], "auth.ssh_user": "root"}
        laptop = Launched(place, head, changes | {"max_workers": 1}, yaml_file=ON_PREMISES)
        try:
            laptop.run("ray", "get-auth-token", "--generate", timeout_s=60)
            up = laptop.up()
            put(place, laptop, "everywhere.py", EVERYWHERE)
            assert up.returncode == 0
            wait_for("both nodes at work", lambda: _at_work(place, head) == 2, 240)
            laptop.forward_dashboard()
            job = laptop.submit("jobs/validate.py", "--help")
            return {
                "up": up.returncode,
                "job": job.returncode,
                "said": job.stdout[-2000:],
                "down": laptop.down().returncode,
            }
        finally:
            laptop.close()


def _at_work(place: Rig, head: Machine) -> int:
    done = place.attempt(head, "bash -lc '. ~/.bashrc; python ~/everywhere.py'")
    return int(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.split() else 0
