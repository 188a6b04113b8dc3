"""Scenarios of single machines, for test_machines.py."""

import subprocess
from pathlib import Path
from typing import Any

from midas_ray.cloud.client import VastClient
from midas_ray.cloud.fake import machine_faults as faults
from midas_ray.cloud.fake.bridge import NAME
from midas_ray.cloud.offers import OfferQuery
from tests.cluster.rig import Rig, rig, wait_for


def _rent(r: Rig, client: VastClient, **create: Any) -> int:
    client.ensure_ssh_key(r.public_key)
    offer = client.search(OfferQuery())[0]
    return client.create(offer.id, image="any", disk_gb=20, label="midas-test", bid_price=None, **create)


def instance() -> dict[str, Any]:
    """An instance from its create until it destroys itself with its own key."""
    onstart = 'pwd > started; printf "%s|%s" "$CONTAINER_ID" "$MINE" >> started; hostname >> started; sleep 1000 &'
    with rig() as r, VastClient(r.fake.api_key, r.fake.url, intervals_s={}) as client:
        number = _rent(r, client, env={"MINE": 'a "b" \\c'}, onstart=onstart)
        wait_for("it to run", lambda: client.show(number).actual_status == "running")  # type: ignore[union-attr]
        shown, machine = client.show(number), r.machines.of_instance(number)
        assert shown is not None
        wait_for("onstart to end", lambda: r.attempt(machine, "pgrep -x sleep | wc -l").stdout.strip() >= "2")
        api = f"{r.fake.url}/api/v0/instances/$CONTAINER_ID/"
        found = {
            "number": str(number),
            "address": shown.ssh_address == (machine.host, machine.port),
            "session": r.on(machine, 'printf "%s|%s|%s" "$CONTAINER_ID" "$MINE" "$FAKE_VAST_PUBLIC_KEYS"'),
            "login": r.on(machine, "bash -lc 'command -v ray python rsync'").split(),
            "started": r.on(machine, "cat started"),
            "stranger": r.on(machine, f'curl -s -w "%{{http_code}}" -o /dev/null {api}'),
        }
        r.attempt(machine, f'curl -s -X DELETE -H "Authorization: Bearer $CONTAINER_API_KEY" {api}')
        wait_for("its processes to end", lambda: not machine.processes())
        return found | {"destroyed_by": r.fake.instances()[0]["destroyed_by"], "gone": client.show(number) is None}


def foreign_key() -> int:
    """ssh's exit code for a key that the machine does not know."""
    with rig() as r:
        machine = r.server("server")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/tmp/other"], check=True)
        r.on(machine, "true")
        command = ["/tmp/other" if part == str(r.key) else part for part in r.ssh(machine)]
        return subprocess.run([*command, "-oIdentitiesOnly=yes", "true"], check=False, timeout=60).returncode


def privacy() -> dict[str, Any]:
    """What two machines and their host see of each other's files."""
    Path("/tmp/of-the-host").write_text("")
    with rig() as r:
        one, two = r.server("one"), r.server("two")
        folders = ["~", "/tmp", "/var/tmp", "/var/log", "/dev/shm", "/run"]
        r.on(one, "; ".join(f"echo x > {folder}/of-one" for folder in folders))
        r.on(one, "echo '127.0.0.1 midas-head' >> /etc/hosts")
        look = "ls -d " + " ".join(f"{folder}/of-one" for folder in folders) + " 2>/dev/null | wc -l"
        return {
            "one": r.on(one, look).strip(),
            "two": r.on(two, look).strip(),
            "host": sum((Path(folder).expanduser() / "of-one").exists() for folder in folders),
            "of the host": r.attempt(one, "ls /tmp/of-the-host").returncode,
            "names": [r.on(machine, "hostname").strip() for machine in (one, two)],
            "hosts": [r.attempt(machine, "getent -s files hosts midas-head").returncode for machine in (one, two)],
            "written elsewhere": r.attempt(one, f"touch {Path(__file__).parent}/x /usr/x").stderr.count("Read-only"),
            "terminal": r.on(one, "script -qc tty /dev/null").strip(),
        }


def death() -> dict[str, Any]:
    """A machine is stopped with everything in it, and the next one gets its address."""
    with rig() as r:
        machine = r.server("first")
        stays = "exec >/dev/null 2>&1; for n in 1 2 3; do (setsid nohup sleep 98765 &); done; "
        r.on(machine, stays + "(trap '' TERM HUP; exec sleep 98765) &")
        wait_for("its processes to run", lambda: str(machine.processes().values()).count("sleep 98765") >= 4)
        before = len(machine.processes())
        machine.stop()
        left = subprocess.run(["pgrep", "-f", "sleep 98765"], check=False, capture_output=True).stdout
        devices = subprocess.run(["ip", "-brief", "link", "show", "master", NAME], check=True, capture_output=True)
        machine.stop()
        again = r.server("second")
        return {
            "before": before,
            "after": [len(machine.processes()), left.decode(), devices.stdout.decode()],
            "address": [machine.host == again.host, machine.port == again.port],
            "second": r.on(again, "hostname").strip(),
        }


def network() -> dict[str, Any]:
    """Machines meet at the bridge alone, and a silence is one."""
    with rig() as r:
        one, two = r.server("one"), r.server("two")
        two.must("(setsid nohup python -m http.server 8000 >/dev/null 2>&1 &)")
        wait_for("the server", lambda: two.run(f"curl -s {two.host}:8000 -o /dev/null").returncode == 0)
        greets = f"timeout 2 bash -c 'head -c 4 < /dev/tcp/{two.host}/{two.port}'"
        found = {"sshd": one.run(greets).stdout, "other": one.run(f"curl -s -m 2 {two.host}:8000").returncode}
        two.silence()
        found["silenced"] = one.run(greets).returncode
        two.restore()
        found["restored"] = one.run(greets).stdout
        subprocess.run(["ip", "link", "set", NAME, "down"], check=True)
        found["without the bridge"] = one.run(greets).stdout
        return found


def host_key() -> dict[str, Any]:
    """A strict client before and after the machine shows another host key; a connection that is there stays."""
    with rig() as r:
        machine = r.server("server")
        first = r.attempt(machine, "true", strict="accept-new").returncode
        with subprocess.Popen([*r.ssh(machine), "read -r line; echo $line"], stdin=-1, stdout=-1, text=True) as old:
            wait_for("the session", lambda: "read -r line" in str(machine.processes()))
            faults.change_host_key(machine)
            heard, _ = old.communicate("still here\n", timeout=20)
        after = r.attempt(machine, "true", strict="accept-new")
        return {"first": first, "after": after.returncode, "said": after.stderr, "old session": heard.strip()}


def disk() -> dict[str, Any]:
    """A full home, a full /tmp, and space again."""
    with rig() as r:
        machine = r.server("server")
        write = "head -c 1000000 /dev/zero > {}/big; rm -f {}/big"
        found = {}
        for folder in ("/root", "/tmp"):
            faults.fill_disk(machine, Path(folder))
            found[folder] = r.attempt(machine, write.format(folder, folder)).stderr.strip()
            found[f"beside {folder}"] = r.attempt(machine, write.format("/var/tmp", "/var/tmp")).stderr
            faults.free_disk(machine, Path(folder))
            found[f"{folder} again"] = r.attempt(machine, write.format(folder, folder)).stderr
        return found


def failing_ssh() -> dict[str, Any]:
    """An sshd that refuses, hangs, drops; a machine that is frozen, and one that dies like a host."""
    with rig() as r:
        machine = r.server("server")
        found: dict[str, Any] = {"at first": machine.answers()}
        with subprocess.Popen([*r.ssh(machine), "sleep 1000"]) as session:
            wait_for("the session", lambda: "sleep 1000" in machine.processes().values())
            faults.refuse_ssh(machine)
            found |= {"refused": machine.answers(), "refused, session": session.poll()}
            machine.serve_ssh()
            faults.hang_ssh(machine)
            found["hung"] = machine.answers()
            faults.unhang_ssh(machine)
            found["no longer"] = machine.answers()
            faults.drop_ssh(machine)
            found |= {"dropped, session": session.wait(20), "dropped, next": machine.answers()}
        faults.freeze(machine)
        states = [Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] for pid in machine.processes()]
        found |= {"frozen": machine.answers(), "states": sorted(set(states))}
        faults.thaw(machine)
        found["thawed"] = machine.answers(5.0)
        machine.kill()
        return found | {"dead": machine.answers(), "left": len(machine.processes())}
