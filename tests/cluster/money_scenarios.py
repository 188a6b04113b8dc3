"""What a real head with the provider in its autoscaler tells of money, for test_money.py."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from midas_ray.cloud.fake import FakeHandle, Script, running_fake
from midas_ray.cloud.launch import HEAD_KEY, for_the_head, prepared
from midas_ray.cloud.mesh import HEAD_SLOT, Ports
from tests.cluster.rig import wait_for

ROOT = Path(__file__).parents[2]
METRICS = f"http://127.0.0.1:{Ports(HEAD_SLOT).money}/metrics"
JOB = """
import ray, time
ray.init()
work = ray.remote(lambda: time.sleep(4)).options(resources={"rented": 1})
print(ray.get(work.remote()))
"""
NODE_START_S = 90.0
OF_RAY_UP = ("RAY_CLOUD_INSTANCE_ID", "RAY_NODE_TYPE_NAME")
"""What `ray up` exports on a node, by which the autoscaler knows it again."""


def head() -> dict[str, Any]:
    """A head rents a node of the fake, a job runs on a node beside it, and the API goes down."""
    data_dir = str(Path.home() / "data")
    with running_fake(Script()) as fake:
        try:
            _start_head(fake, data_dir)
            return _told(fake)
        except Exception:
            logs = [Path(data_dir, "logs", "ray-head.log")]
            logs += Path("/tmp").glob("ray-midas-*/session_latest/logs/monitor.log")
            for log in filter(Path.exists, logs):
                lines = [line for line in log.read_text().splitlines() if "WARNING util" not in line]
                sys.stderr.write("\n".join([f"{log}:", *lines[-40:], ""]))
            raise
        finally:
            _midas("down", "--data-dir", data_dir)


def _start_head(fake: FakeHandle, data_dir: str) -> None:
    """`midas up` with what `ray up` would have brought: the configuration, the keys."""
    folder = Path.home() / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id_ed25519")], check=True)
    os.environ |= {"VAST_URL": fake.url, "VAST_API_KEY": fake.api_key, "RAY_AUTH_MODE": "token"}
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    config["provider"]["head"] = "localhost"
    config["available_node_types"]["gpu"]["min_workers"] = 1
    config["provider"]["caps"] |= {"nodes": 1, "price_per_hour": 0.9, "total_per_day": 7.5}
    config["max_workers"] = 1
    config = for_the_head(prepared(config)) | {"file_mounts": {}}
    key = Path(HEAD_KEY).expanduser()
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text(fake.api_key)
    key.chmod(0o600)
    del os.environ["VAST_API_KEY"]  # nothing that the head starts may have it from there
    bootstrap = Path.home() / "ray_bootstrap_config.yaml"
    bootstrap.write_text(json.dumps(config))
    os.environ |= dict.fromkeys(OF_RAY_UP, "head")
    _midas("up", "--symbols", "", "--data-dir", data_dir, "--autoscaling-config", str(bootstrap))


def _told(fake: FakeHandle) -> dict[str, Any]:
    wait_for("a node to be rented and told of", lambda: _metrics().get("vast_nodes_rented_total") == 1.0, NODE_START_S)
    rented = _metrics()
    fake.steer(down_s=600.0)
    wait_for("the API's silence to be told", lambda: _metrics()["vast_api_age_s"] > 8.0)
    silent = _metrics()
    fake.steer(down_s=0.0)
    wait_for("the API's answer to be told", lambda: _metrics()["vast_api_age_s"] < 8.0)
    _node_beside()
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", "http://127.0.0.1:8265", "--"]
    subprocess.run([*command, sys.executable, "-c", JOB], check=True, timeout=60)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    return {
        "rented": rented,
        "silent": silent,
        "costs": json.loads(_midas("vast", "cost", "--json")),
        "live": len(fake.live()),
        "key in files": _files_with(fake.api_key),
        "key in command lines": [command.decode() for command in commands if fake.api_key.encode() in command],
    }


def _node_beside() -> None:
    """A node that is no head: as one that was rented."""
    hosts = Path("/run/hosts")
    hosts.write_text(f"{Path('/etc/hosts').read_text()}\n127.0.0.1 midas-head\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address=midas-head:{Ports(HEAD_SLOT).gcs}"]
    flags = [*Ports(HEAD_SLOT + 2).start_flags(), "--num-cpus=1", '--resources={"rented": 1}', "--disable-usage-stats"]
    own = {name: value for name, value in os.environ.items() if name not in OF_RAY_UP}
    done = subprocess.run([*start, *flags], check=False, capture_output=True, text=True, timeout=NODE_START_S, env=own)
    assert done.returncode == 0, done.stdout + done.stderr


def _metrics() -> dict[str, float]:
    """`vast_nodes_cap` and so on; the sum over states."""
    found: dict[str, float] = {}
    try:
        text = httpx.get(METRICS, trust_env=False, timeout=5.0).text
    except httpx.TransportError:  # not there yet
        return found
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("ray_midas_")
            found[name] = found.get(name, 0.0) + sample.value
    return found


def _midas(*argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "midas_ray.cli", *argv], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"midas {argv[0]}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def _files_with(key: str) -> list[str]:
    """Files of the home and of Ray's logs that hold the key."""
    found = []
    for folder in (Path.home(), *Path("/tmp").glob("ray-midas-*")):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and key.encode() in path.read_bytes():
                found.append(str(path.relative_to(Path.home())) if path.is_relative_to(Path.home()) else str(path))
    return sorted(found)
