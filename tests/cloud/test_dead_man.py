"""The start script of a node, really run: it destroys its own instance at a (fake) Vast.ai, and no other."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from midas_ray.cloud.client import VastClient
from midas_ray.cloud.dead_man import HEARTBEAT, onstart
from midas_ray.cloud.fake.machines import NoMachines
from midas_ray.cloud.fake.running import FakeHandle, running_fake
from midas_ray.cloud.offers import OfferQuery, rank

LIMIT_S = 30.0


class _KeysKept(NoMachines):
    """Nothing runs; what an instance would find in its environment is kept."""

    keys: ClassVar[dict[int, str]] = {}

    async def start(self, instance_id: int, env: dict[str, str], onstart: str) -> tuple[str, int]:
        self.keys[instance_id] = env["CONTAINER_API_KEY"]
        return await super().start(instance_id, env, onstart)


@pytest.fixture
def fake() -> Iterator[FakeHandle]:
    _KeysKept.keys.clear()
    with running_fake(machines=_KeysKept()) as running:
        yield running


def _rent(fake: FakeHandle) -> int:
    instance_id = _create(fake)
    deadline = time.monotonic() + LIMIT_S
    while instance_id not in _KeysKept.keys:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return instance_id


def _create(fake: FakeHandle) -> int:
    with VastClient(fake.api_key, fake.url) as client:
        offer = rank(client.search(OfferQuery()), OfferQuery())[0]
        return client.create(
            offer.id, image="image", disk_gb=40, label=f"midas/test/{offer.id}", env={}, onstart="", bid_price=None
        )


@contextmanager
def _node(fake: FakeHandle, instance_id: int, folder: Path, life_s: int, silence_s: int) -> Iterator[Path]:
    """The script's timer in a process group of its own; gives the heartbeat's file."""
    (folder / "bin").mkdir()
    setsid = folder / "bin" / "setsid"
    setsid.write_text('#!/bin/sh\nexec "$@"\n')  # so that the timer stays in the group that is ended below
    setsid.chmod(0o755)
    heartbeat = folder / "heartbeat"
    script = onstart(fake.url, "ssh-ed25519 AAAA me", life_s, silence_s, check_s=0.2).replace(HEARTBEAT, str(heartbeat))
    environment = os.environ | {
        "HOME": str(folder),
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "CONTAINER_ID": str(instance_id),
        "CONTAINER_API_KEY": _KeysKept.keys[instance_id],
    }
    started = subprocess.Popen(["bash", "-c", script], env=environment, start_new_session=True)
    try:
        yield heartbeat
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait(10)


def _wait_until_gone(fake: FakeHandle, instance_id: int) -> bool:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if instance_id not in [one["id"] for one in fake.live()]:
            return True
        time.sleep(0.2)
    return False


def _uptime() -> int:
    return int(float(Path("/proc/uptime").read_text().split()[0]))


def test_its_hours_end_it_whatever_the_head_says(fake: FakeHandle, tmp_path: Path) -> None:
    mine, other = _rent(fake), _rent(fake)
    with _node(fake, mine, tmp_path, life_s=3, silence_s=600) as heartbeat:
        heartbeat.write_text(str(_uptime() + 100))
        assert _wait_until_gone(fake, mine)
    assert [one["id"] for one in fake.live()] == [other]
    assert "3 s are over" in (tmp_path / ".midas-dead-man.log").read_text()


def test_silence_of_the_head_ends_it_and_signs_of_life_do_not(fake: FakeHandle, tmp_path: Path) -> None:
    mine = _rent(fake)
    with _node(fake, mine, tmp_path, life_s=3600, silence_s=4) as heartbeat:
        for _ in range(8):
            heartbeat.write_text(str(_uptime()))
            time.sleep(1)
        assert mine in [one["id"] for one in fake.live()]
        assert _wait_until_gone(fake, mine)
    assert "no sign of the head for 4 s" in (tmp_path / ".midas-dead-man.log").read_text()


def test_a_rented_head_waits_for_nobody(fake: FakeHandle, tmp_path: Path) -> None:
    mine = _rent(fake)
    with _node(fake, mine, tmp_path, life_s=3600, silence_s=0):
        time.sleep(3)
    assert mine in [one["id"] for one in fake.live()]


def test_an_api_that_is_down_is_asked_again(fake: FakeHandle, tmp_path: Path) -> None:
    mine = _rent(fake)
    fake.steer(failures=[{"what": "503", "call": "destroy", "times": 1}])
    with _node(fake, mine, tmp_path, life_s=1, silence_s=0):
        assert _wait_until_gone(fake, mine)
    # It goes on asking until its machine ends; by then its key is of no use.
    first, second, *rest = [call["status"] for call in fake.calls("destroy")]
    assert (first, second, set(rest) - {401}) == (503, 200, set())


def test_the_key_is_in_no_process_list(fake: FakeHandle, tmp_path: Path) -> None:
    mine = _rent(fake)
    key = _KeysKept.keys[mine]
    fake.steer(failures=[{"what": "hang", "call": "destroy", "times": 1, "hang_s": 3}])
    with _node(fake, mine, tmp_path, life_s=1, silence_s=0):
        deadline = time.monotonic() + LIMIT_S
        while not fake.calls("destroy"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        seen = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert any(b"curl" in command for command in seen)
    assert not any(key.encode() in command for command in seen)
