"""From a job that asks for a GPU to its first epoch: on a node that has to be rented, then on the same one, idle."""

import time
from typing import Any

from midas_ray.cloud.fake import Script
from tests.cluster.failures import JOB_LOG, cluster
from tests.cluster.launched import Launched
from tests.cluster.rig import Rig
from tests.cluster.whole_path import TRAIN

BEGINS, STEPPED = "training tft-", "epoch 1/"


def to_the_first_epoch() -> dict[str, Any]:
    """Seconds of both, and of what the first one consists of: the fake's own delays, the node's setup, each step."""
    with cluster(Script.realistic(), {"idle_timeout_minutes": 5}) as (place, laptop, data):
        words = [word.format(data=data) for word in TRAIN]
        rented_s, log = _timed(place, laptop, words)
        node = laptop.status()["nodes"][0]
        idle_s, _ = _timed(place, laptop, words)
        instance = place.fake.instances()[0]
        history = {status: at for at, status in instance["history"]}
        laptop.down()
        steps = {name: at - node["steps"]["asked"] for name, at in node["steps"].items()}
        return {
            "rented_s": rented_s,
            "idle_s": idle_s,
            "delays_s": history["running"] - instance["history"][0][0],
            "setup_s": steps["set up"] - steps["ports"],
            "steps": steps,
            "log": log,
        }


def _timed(place: Rig, laptop: Launched, words: list[str]) -> tuple[float, str]:
    """Submit it; seconds from the moment at which it begins to ask to its first epoch's line, and its log."""
    before = len(_log(laptop))
    laptop.begin(*words)
    began = None
    while STEPPED not in (log := _log(laptop)[before:]):
        if began is None and BEGINS in log:
            began = time.monotonic()
        time.sleep(0.1)
    assert began is not None
    took_s = time.monotonic() - began
    while "model: " not in (log := _log(laptop)[before:]):
        time.sleep(0.5)
    return took_s, log


def _log(laptop: Launched) -> str:
    return laptop.head.must(f"cat $(ls -tr {JOB_LOG} 2>/dev/null) /dev/null")
