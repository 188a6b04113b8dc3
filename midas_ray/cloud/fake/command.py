"""`midas vast fake`: the fake on a port of its own, with or without machines behind it, until Ctrl-C."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from midas_ray.cloud.fake import bridge, outer
from midas_ray.cloud.fake.machines import NoMachines
from midas_ray.cloud.fake.namespaces import NamespaceMachines
from midas_ray.cloud.fake.script import Script
from midas_ray.cloud.fake.server import FakeVast
from midas_ray.cloud.fake.world import World
from midas_ray.console import out
from midas_ray.errors import UsageError
from midas_ray.settings import Vast


def fake(values: Vast) -> int:
    """Serve until SIGINT or SIGTERM; gives the exit code. Raises UsageError."""
    changes = {} if values.fake_script is None else _script_file(values.fake_script)
    if values.machines == "namespaces" and not bridge.exists():
        return outer.run(_command(values), private_home=False, told=_say_how_to_enter)
    asyncio.run(_serve(values, changes))
    return 0


def _command(values: Vast) -> list[str]:
    """This command again, for the outer namespace."""
    flags = ["--machines", values.machines, "--port", str(values.port)]
    if values.fake_script is not None:
        flags += ["--fake-script", str(values.fake_script.absolute())]
    return [sys.executable, "-m", "midas_ray.cli", "vast", "fake", *flags]


def _say_how_to_enter(pid: int) -> None:
    enter = f'nsenter --target {pid} --all env -C "$PWD" bash'
    out.print("machines, the API and their network are in namespaces: all that follows, and ray, in a shell in there:")
    out.print(f"           {enter}", soft_wrap=True)
    out.file.flush()


def _script_file(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--fake-script {path}: expected a JSON file, found: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"--fake-script {path}: expected an object, found {type(content).__name__}")
    return content


async def _serve(values: Vast, changes: dict[str, Any]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    machines = NamespaceMachines() if values.machines == "namespaces" else NoMachines()
    host = bridge.HOST if values.machines == "namespaces" else "127.0.0.1"
    world = World(script=Script.realistic(), machines=machines)
    async with FakeVast(world, host=host, port=values.port) as fake:
        fake.steer(changes)
        server = await _server(machines) if isinstance(machines, NamespaceMachines) else ""
        out.print(
            f"fake Vast.ai on {fake.url}: {len(world.asks)} offers, ${world.credit:.2f} of credit; Ctrl-C ends it\n"
            f"use it:    export VAST_URL={fake.url} VAST_API_KEY={fake.api_key}\n"
            f"           midas vast offers\n"
            f"{server}"
            f"watch it:  curl {fake.url}/fake/calls (and /fake/instances, /fake/account)\n"
            f"steer it:  curl {fake.url}/fake/script -d "
            '\'{"failures": [{"what": "gone", "call": "create"}], "plans": [{"outcome": "never_starts"}]}\''
        )
        out.file.flush()
        await stop.wait()
        out.print(f"{len(world.instances)} instances were made, {len(world.live())} still there; ${world.spent:.4f}")


async def _server(machines: NamespaceMachines) -> str:
    """Boot a server for the head; gives the line that says where."""
    keys = sorted((Path.home() / ".ssh").glob("*.pub"))
    if not keys:
        return "           no server for the head: expected a key in ~/.ssh/*.pub, found none; ssh-keygen -t ed25519\n"
    machine = await asyncio.to_thread(machines.server, "head", "\n".join(key.read_text().strip() for key in keys))
    return f"its head:  root@{machine.host}:{machine.port}, for provider.head in cluster.yaml; takes ~/.ssh/*.pub\n"
