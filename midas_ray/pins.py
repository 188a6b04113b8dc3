"""Which versions this checkout was tested with, and whether what runs it has them."""

import importlib.metadata
import re
import sys
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from midas_ray.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[1]
PINS = "constraints.txt"
COMPARED = ("ray", "torch")
"""Packages whose versions must be the pinned ones: what they write and send is read by others of the cluster."""


def read_pins(path: Path) -> dict[str, str]:
    """Name and version of every `name==version` line. Raises OSError."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", path.read_text(), re.MULTILINE))


def check_versions(checkout: Path = CHECKOUT) -> None:
    """Raises UsageError where this Python, its Ray or torch are not those that `checkout` wants."""
    try:
        pins = read_pins(checkout / PINS)
        declared = re.search(r'^requires-python = "(.*)"$', (checkout / "pyproject.toml").read_text(), re.MULTILINE)
    except OSError as error:
        raise UsageError(
            f"{error.filename}: expected beside jobs/, found none; submit from the top of a checkout (--working-dir .)"
        ) from None
    python = ".".join(map(str, sys.version_info[:3]))
    if declared is not None and not SpecifierSet(declared[1]).contains(python):
        raise _mismatch(f"wants Python {declared[1]}", python)
    for name in COMPARED:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise _mismatch(f"pins {name}=={pins[name]}", "none") from None
        if Version(found).public != pins[name]:  # an image's torch is 2.13.0+cu130
            raise _mismatch(f"pins {name}=={pins[name]}", found)


def _mismatch(wanted: str, found: str) -> UsageError:
    return UsageError(
        f"this checkout {wanted}, the cluster runs {found}; run ray up again, or check out the version that the "
        "cluster was set up with"
    )
