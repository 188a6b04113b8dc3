"""Scenarios of a whole cluster: what its users do, and what goes wrong; over real sshd, against the fake Vast.ai."""

from typing import Any

from midas_ray.cloud.fake import Script
from tests.cluster.launched import Launched, listening_beyond_loopback
from tests.cluster.rig import rig

DELAYS = Script(provisioned_s=1.0, created_s=1.0, loading_s=3.0)
TRAIN = (
    *("jobs/train.py", "--data-dir", "{data}", "--model-dir", "{data}/models", "--log-dir", "{data}/logs/train"),
    *("--gpus", "1", "--fake-gpus", "--wait-for-gpus", "300s", "--hidden-dim", "8", "--n-heads", "1", "--epochs", "2"),
    *("--input-length", "20", "--output-length", "5", "--batch-size", "64", "--stride", "4"),
)
MAKE_FEATURES = "cd ~/midas && python -m tests.cluster.make_features"


def train_on_a_rented_node() -> dict[str, Any]:
    """`ray up`, a training that asks for a GPU: 0 -> 1 -> 0 nodes, the model home; `ray down`, an empty account."""
    with rig(DELAYS) as place:
        laptop = Launched(place, place.server("head"))
        try:
            up = laptop.up()
            data = laptop.on_head("realpath ~/midas-data").strip()
            laptop.on_head(f"{MAKE_FEATURES} {data}")
            laptop.forward_dashboard()
            before = len(place.fake.instances())
            job = laptop.submit(*(word.format(data=data) for word in TRAIN))
            models = laptop.on_head(f"ls {data}/models/latest/").split()
            status = laptop.status()
            head_open = listening_beyond_loopback(place, laptop.head)
            idle_s = laptop.wait_live(0)
            key_on_head = laptop.on_head("stat -c %a ~/.midas/vast_api_key ~/.ray/auth_token").split()
            down = laptop.down()
            return {
                "up": up.returncode,
                "up_said": up.stdout[-1500:],
                "before": before,
                "job": job.returncode,
                "said": job.stdout[-4000:],
                "models": models,
                "status": status,
                "head_open": head_open,
                "idle_s": idle_s,
                "rights": key_on_head,
                "down": down.returncode,
                "live": len(place.fake.live()),
                "ever": len(place.fake.instances()),
                "listings": [
                    call["at"] for call in place.fake.calls("instances") if call["remote"] == laptop.head.host
                ],
                "key_said": place.fake.api_key in up.stdout + job.stdout + down.stdout,
                "raylets": laptop.on_head("pgrep -c raylet || true").strip(),
            }
        finally:
            laptop.close()
