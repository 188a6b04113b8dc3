"""`python outer_init.py SETUP COMMAND...`: first process of the outer namespace. Standard library only.

Runs the bash text SETUP, then COMMAND; takes up every process that lost its parent; ends with COMMAND and its exit
code, upon which the kernel ends whatever is left. SIGTERM is handed on.
"""

import os
import signal
import subprocess
import sys

FAILED = 125
"""Exit code where the namespace could not be set up."""


def main(setup: str, command: list[str]) -> int:
    """Entry point; gives the exit code."""
    prepared = subprocess.run(["bash", "-euc", setup], check=False, stdout=sys.stderr)
    if prepared.returncode:
        return FAILED
    child = subprocess.Popen(command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the command, too
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child.pid, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # Not by sys.exit: nothing is to be cleaned up, the kernel does.
    code = main(sys.argv[1], sys.argv[2:])
    sys.stdout.flush()
    os._exit(code)
