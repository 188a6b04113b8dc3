"""The outer namespace: it ends with whatever started it, and says what it lacks."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midas_ray.cloud.fake import outer as outer_module
from midas_ray.cloud.fake.namespaces import NamespaceMachines
from midas_ray.errors import UsageError
from tests.cluster.outer import ROOT, ScenarioError
from tests.cluster.rig import rig, wait_for

Outer = Callable[..., Any]


def sleep_with_a_machine(seconds: int) -> str:
    """Scenario: a machine with a long process, and one beside it; says so by a process's name."""
    with rig() as r:
        r.server("one").must(f"(setsid nohup sleep {seconds} >/dev/null 2>&1 &)")
        subprocess.run(["sleep", str(seconds)], check=True)
        return "over"


def fail() -> None:
    """Scenario: an exception."""
    raise RuntimeError("as scripted")


def _sleeping(seconds: int) -> int:
    found = subprocess.run(["pgrep", "-fxc", f"sleep {seconds}"], check=False, capture_output=True, text=True)
    return int(found.stdout)


def test_a_scenario_that_takes_too_long_is_ended_with_everything_it_started(outer: Outer) -> None:
    with pytest.raises(ScenarioError, match="expected an end within 6 s"):
        outer(sleep_with_a_machine, 77123, timeout_s=6)
    assert _sleeping(77123) == 0


def test_everything_ends_when_whoever_started_it_is_killed(outer: Outer) -> None:
    command = [sys.executable, "-m", "tests.cluster.outer", "tests.cluster.test_outer:sleep_with_a_machine", "77124"]
    with subprocess.Popen(command, cwd=ROOT) as runner:
        wait_for("both to sleep", lambda: _sleeping(77124) == 2)
        runner.kill()
    wait_for("everything to end", lambda: _sleeping(77124) == 0)


def test_a_scenarios_failure_is_the_callers(outer: Outer) -> None:
    with pytest.raises(ScenarioError, match="RuntimeError: as scripted"):
        outer(fail, timeout_s=120)


def test_machines_outside_of_it_are_refused_and_nothing_is_made(outer: Outer) -> None:
    with pytest.raises(UsageError, match="expected the bridge midas0, found none"):
        NamespaceMachines()


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"sshd", "rsync"}
    monkeypatch.setattr(outer_module, "program", lambda name: None if name in absent else f"/bin/{name}")
    monkeypatch.setattr(sys, "platform", "linux")
    reason = "fake machines: expected sshd, rsync, found none; apt-get install openssh-server rsync"
    assert outer_module.available() == reason


def test_without_the_right_to_make_namespaces_the_command_says_so(outer: Outer, tmp_path: Path) -> None:
    unprivileged = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    command = [*unprivileged, sys.executable, "-m", "midas_ray.cli", "vast", "fake", "--machines", "namespaces"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "expected the right to make namespaces" in refused.stderr


def test_midas_vast_fake_with_machines_serves_until_ctrl_c(outer: Outer, tmp_path: Path) -> None:
    key = tmp_path / ".ssh" / "id_ed25519"
    key.parent.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"loading_s": 0.0, "intervals_s": {}}))
    command = [sys.executable, "-m", "midas_ray.cli", "vast", "fake", "--port", "0", "--fake-script", str(script)]
    env = os.environ | {"HOME": str(tmp_path)}
    with subprocess.Popen([*command, "--machines", "namespaces"], env=env, stdin=-3, stdout=-1, text=True) as served:
        try:
            assert served.stdout is not None
            said = "".join(served.stdout.readline() for _ in range(7))
            enter = re.search(r"nsenter --target \d+ --all", said)
            account = re.search(r"VAST_URL=(\S+) VAST_API_KEY=(\S+)", said)
            head = re.search(r"root@([\d.]+):(\d+)", said)
            assert enter, said
            assert account, said
            assert head, said
            rent = [*enter[0].split(), sys.executable, "-c", RENT, *account.groups(), str(key)]
            rented = subprocess.run(rent, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
            assert rented.stdout == "30000001\n", rented.stderr
            flags = ["-i", str(key), "-p", head[2], "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
            ssh = [*enter[0].split(), "ssh", *flags, "-oLogLevel=ERROR", f"root@{head[1]}", "hostname"]
            assert subprocess.run(ssh, capture_output=True, text=True, timeout=60, check=True).stdout == "head\n"
            served.send_signal(signal.SIGINT)
            rest, _ = served.communicate(timeout=30)
        finally:
            served.kill()
    assert served.returncode == 0
    assert "1 instances were made, 1 still there" in rest


RENT = """
import subprocess, sys, time
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.offers import OfferQuery
url, api_key, key = sys.argv[1:]
with VastClient(api_key, url, intervals_s={}) as vast:
    vast.ensure_ssh_key(open(key + ".pub").read())
    offer = vast.search(OfferQuery())[0]
    number = vast.create(offer.id, image="any", disk_gb=20, label="x", env={}, onstart="", bid_price=None)
    while vast.show(number).actual_status != "running":
        time.sleep(0.1)
    host, port = vast.show(number).ssh_address
flags = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR", "-i", key, "-p", str(port)]
subprocess.run(["ssh", *flags, f"root@{host}", "echo $CONTAINER_ID"], check=True)
"""
"""In the outer namespace: rent a machine, log in, say its number."""
