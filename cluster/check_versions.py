"""python check_versions.py CHECKOUT: are the versions here those of the head and of the checkout's constraints.txt?

One line and exit code 1 where they are not. Run on every node before its Ray starts: Ray itself would say so late, or
fail to read what another version wrote. Standard library only: it runs where nothing is installed yet.
"""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

EXACT = ("ray", "numpy", "polars", "pyarrow", "msgspec", "lightning", "pytorch-forecasting")
"""What tasks exchange pickled, or read each other's files with: as pinned, to the last digit."""


def found(name: str) -> str | None:
    """The installed version, without a build's suffix such as +cu130."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return None


def problems(checkout: Path) -> list[str]:
    """What differs, as `ray: expected 2.60.0, found 2.59.0`."""
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", (checkout / "constraints.txt").read_text(), re.MULTILINE))
    wrong = [f"{name}: expected {pins[name]}, found {found(name)}" for name in EXACT if found(name) != pins[name]]
    here = ".".join(map(str, sys.version_info[:2]))
    python = os.environ.get("MIDAS_EXPECT_PYTHON", here)
    if here != python:
        wrong.append(f"Python: expected {python} as on the head, found {here}")
    ray = os.environ.get("MIDAS_EXPECT_RAY", pins["ray"])
    if ray != pins["ray"]:
        wrong.append(f"Ray on the head: expected {pins['ray']} as pinned, found {ray}; run ray up again")
    torch = os.environ.get("MIDAS_EXPECT_TORCH", pins["torch"])
    if found("torch") is None or found("torch").split(".")[:2] != torch.split(".")[:2]:
        wrong.append(
            f"torch: expected {torch} as on the head, found {found('torch')}: choose another node_config.image"
        )
    return wrong


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]))
    if wrong:
        print("versions: " + "; ".join(wrong), file=sys.stderr)
    sys.exit(1 if wrong else 0)
