"""`python -m midas_ray.cloud.link FILE`: the head's SSH connection to one worker, for as long as the worker is ours.

A process of its own, so that neither the autoscaler's end nor its restart cuts what carries Ray's ports. The same
connection brings the head's sign of life to the node, but only while the autoscaler gives one itself: where it is gone
for good, the node hears nothing more and destroys itself. Standard library only: it starts in a tenth of a second.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from midas_ray.cloud import ssh
from midas_ray.cloud.dead_man import FREE_PORTS, LISTEN
from midas_ray.cloud.mesh import forwards

BEAT_S = 10.0
ALIVE_S = 180.0
"""How long the autoscaler may give no sign of life before its nodes are not told any more that it lives."""
GIVE_UP_S = 3600.0
"""A head that is gone for so long does not come back: its nodes have destroyed themselves by then."""
FIRST_WAIT_S, MOST_WAIT_S = 0.3, 5.0
CONNECT_S = 10


class Link:
    """One connection, again and again. `plan` is the file that the provider wrote for it."""

    def __init__(self, plan: Path) -> None:
        self._plan = plan
        self._read = json.loads(plan.read_text())
        self._alive = Path(self._read["alive"])
        self._status = plan.with_suffix(".status")
        self._connects = 0
        self._down_since = time.time()

    def run(self) -> None:
        """Until the plan is deleted, or the head has been gone for good."""
        wait_s = FIRST_WAIT_S
        while self._plan.exists() and self._silence_s() < GIVE_UP_S:
            self._read = json.loads(self._plan.read_text())
            began = time.monotonic()
            linked_before = self._connects
            reason = self._connect()
            if self._connects > linked_before:
                self._down_since = time.time()
            self._tell("down", reason)
            if time.monotonic() - began > 60:
                wait_s = FIRST_WAIT_S
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, MOST_WAIT_S)
        self._status.unlink(missing_ok=True)

    def _silence_s(self) -> float:
        try:
            return time.time() - self._alive.stat().st_mtime
        except FileNotFoundError:
            return GIVE_UP_S

    def _ssh(self, *flags: str) -> list[str]:
        read = self._read
        options = ssh.options(Path(read["known_hosts"]), read["alias"]) | {
            "ExitOnForwardFailure": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "BatchMode": "yes",
            "ControlPath": "none",
        }
        return ssh.command(read["key"], read["user"], read["host"], read["port"], options, *flags)

    def _connect(self) -> str:
        """Hold one connection until it ends; gives the reason."""
        if self._connects:  # the node may not have noticed yet that the last one ended
            subprocess.run([*self._ssh(), FREE_PORTS], check=False, capture_output=True, timeout=4 * CONNECT_S)
        connection = subprocess.Popen(
            [*self._ssh(*forwards(self._read["slot"])), LISTEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            self._hold(connection)
        finally:
            connection.kill()
            _, said = connection.communicate()
        text = said.decode(errors="replace").strip()
        if ssh.CHANGED in text:  # at the head of a long warning
            return ssh.CHANGED
        return text[-500:] or "the connection ended"

    def _hold(self, connection: subprocess.Popen[bytes]) -> None:
        """Send signs of life while the connection, the plan and the autoscaler are there."""
        told: IO[bytes] | Any = connection.stdout
        os.set_blocking(told.fileno(), False)
        beat_due = time.monotonic() + 2 * CONNECT_S
        linked = False
        while connection.poll() is None and self._plan.exists():
            if self._silence_s() >= GIVE_UP_S:
                return
            if select.select([told], [], [], 0.5)[0]:
                heard = told.read() or b""
                if not heard:
                    connection.wait(CONNECT_S)
                    return
                if not linked and b"linked" in heard:
                    linked, beat_due = True, 0.0
                    self._connects += 1
                    self._tell("up", "")
            if time.monotonic() >= beat_due:
                if not linked:
                    return
                beat_due = time.monotonic() + BEAT_S
                if self._silence_s() < ALIVE_S and not _beat(connection):
                    return

    def _tell(self, state: str, reason: str) -> None:
        record = {
            "pid": os.getpid(),
            "state": state,
            "since": time.time(),
            "down_since": self._down_since,
            "connects": self._connects,
            "reason": reason,
            "host": self._read["host"],
            "port": self._read["port"],
        }
        temporary = self._status.with_suffix(".status-new")
        temporary.write_text(json.dumps(record))
        temporary.replace(self._status)


def _beat(connection: subprocess.Popen[bytes]) -> bool:
    """False where the connection has ended."""
    assert connection.stdin is not None
    try:
        connection.stdin.write(b"beat\n")
        connection.stdin.flush()
    except BrokenPipeError:
        return False
    return True


def main() -> None:
    """Entry point. SIGTERM ends it and its connection."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Link(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
