"""The machine itself: Python, packages, cores, memory, GPUs, programs, and what the fake's machines need."""

import importlib.metadata
import os
import shutil
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.version import Version

from midas_ray import console
from midas_ray.doctor.finding import Finding
from midas_ray.pins import CHECKOUT, PINS, read_pins

LEAST_PYTHON = (3, 11)
LEAST_MEMORY_GB = 4.0
PROGRAMS = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync"}
"""What `ray up` runs, and the Debian package of each."""


def check_python(version: tuple[int, ...]) -> Finding:
    """The running Python."""
    text = ".".join(map(str, version))
    return Finding("Python", text, version[:2] >= LEAST_PYTHON, "install Python 3.11 or newer, then run make setup")


def check_packages() -> list[Finding]:
    """Every declared requirement is there in a version it allows; and as pinned, where this is a checkout."""
    requirements = [Requirement(text) for text in importlib.metadata.requires("midas-ray") or []]
    needed = [entry for entry in requirements if entry.marker is None or entry.marker.evaluate({"extra": ""})]
    wrong = [problem for entry in needed if (problem := _problem(entry)) is not None]
    advice = "run make setup (or pip install -c constraints.txt -e .)"
    if wrong:
        return [Finding("package", problem, False, advice) for problem in wrong]
    findings = [Finding("packages", f"{len(needed)} requirements met", True)]
    path = CHECKOUT / PINS
    pins = read_pins(path) if path.is_file() else {}  # an installed package has none
    other = [
        f"{name} {found} (pinned {pin})"
        for name, pin in pins.items()
        if (found := _version(name)) is not None and Version(found).public != pin
    ]
    if other:
        findings.append(Finding("pins", f"other versions than tested: {', '.join(other)}", None, advice))
    return findings


def _problem(requirement: Requirement) -> str | None:
    found = _version(requirement.name)
    if found is None:
        return f"expected {requirement}, found none"
    if not requirement.specifier.contains(found, prereleases=True):
        return f"expected {requirement}, found {found}"
    return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_cores(n_cores: int) -> Finding:
    """Cores: collecting and processing side by side want two."""
    return Finding("CPU cores", str(n_cores), True if n_cores >= 2 else None, "one core works, slowly")


def memory_bytes() -> int:
    """All of this machine's."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(n_bytes: int) -> Finding:
    """Memory: an idle Ray head takes 0.6 GB, a training worker about 1.5 GB."""
    ok = n_bytes >= LEAST_MEMORY_GB * 1e9
    return Finding("memory", console.size_text(n_bytes), ok, f"expected {LEAST_MEMORY_GB:.0f} GB or more")


def check_gpu() -> Finding:
    """GPUs that torch can use; none is fine."""
    import torch

    n_gpus = torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(n_gpus))
    return Finding("GPU", names or "none: training runs on the CPU", True if n_gpus else None)


def check_programs() -> Finding:
    """What the cluster launcher runs on this machine."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        return Finding("programs", f"{', '.join(PROGRAMS)} are there", True)
    packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
    return Finding("programs", f"no {', '.join(missing)}", None, f"ray up needs them: apt-get install {packages}")


def check_namespaces() -> Finding:
    """Whether `midas vast fake` can have machines behind its instances here."""
    if find_spec("httpx") is None:
        return Finding("namespaces", "not looked at: no package httpx", None, "pip install 'midas-ray[cloud]'")
    from midas_ray.cloud.fake.outer import available

    reason = available()
    if reason is None:
        return Finding("namespaces", "midas vast fake --machines namespaces works here", True)
    return Finding("namespaces", reason, None)
