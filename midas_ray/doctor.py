"""`midas doctor`: is this machine fit for MIDAS, and what to do where it is not."""

import importlib.metadata
import os
import re
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from midas_ray import console
from midas_ray.errors import StorageError
from midas_ray.settings import Doctor
from midas_ray.storage import WRITER_NOTE, Storage

LEAST_PYTHON = (3, 11)
LEAST_MEMORY_GB = 4.0
LEAST_DISK_GB = 2.0
PORTS = {8265: "Ray dashboard (midas up --dashboard-port)", 6006: "TensorBoard (--tensorboard-port)"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `ok` None is for information only. `advice`: what to do where it is not ok."""

    name: str
    found: str
    ok: bool | None
    advice: str = ""


def doctor(settings: Doctor) -> int:
    """Run `midas doctor`; gives 1 where something is missing."""
    findings = [
        check_python(sys.version_info[:3]),
        *check_packages(),
        check_cores(os.cpu_count() or 1),
        check_memory(_memory_bytes()),
        *check_data_dir(Storage.of(settings)),
        check_gpu(),
        *(check_port(port, use) for port, use in PORTS.items()),
    ]
    for finding in findings:
        mark = {True: "ok", False: "MISSING", None: "note"}[finding.ok]
        advice = f"; {finding.advice}" if finding.advice and finding.ok is not True else ""
        console.out.print(f"{mark:<8}{finding.name}: {finding.found}{advice}", markup=False)
    return 1 if any(finding.ok is False for finding in findings) else 0


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
    pins = _pins(Path(__file__).resolve().parents[1] / "constraints.txt")
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


def _pins(path: Path) -> dict[str, str]:
    """Name and version of every `name==version` line; none where the file is absent (an installed package)."""
    if not path.is_file():
        return {}
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", path.read_text(), re.MULTILINE))


def check_cores(n_cores: int) -> Finding:
    """Cores: collecting and processing side by side want two."""
    return Finding("CPU cores", str(n_cores), True if n_cores >= 2 else None, "one core works, slowly")


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(n_bytes: int) -> Finding:
    """Memory: an idle Ray head takes 0.6 GB, a training worker about 1.5 GB."""
    ok = n_bytes >= LEAST_MEMORY_GB * 1e9
    return Finding("memory", console.size_text(n_bytes), ok, f"expected {LEAST_MEMORY_GB:.0f} GB or more")


def check_data_dir(storage: Storage) -> list[Finding]:
    """DATA_DIR; where it is an object store, the spool on this machine too."""
    if storage.is_local:
        return [check_disk("DATA_DIR", storage.local_path(), "--data-dir")]
    spool = check_disk("spool", storage.work_folder, "--spool-dir")
    try:
        storage.check_writable()
        storage.read_bytes(WRITER_NOTE)
        storage.list_files(".midas")
    except StorageError as error:
        return [Finding("DATA_DIR", str(error), False), spool]
    return [Finding("DATA_DIR", f"{storage.shown}, can be listed, read and written", True), spool]


def check_disk(name: str, folder: Path, flag: str) -> Finding:
    """Free space where a folder lies, or will lie. flag: what chooses it."""
    there = folder
    while not there.is_dir():
        there = there.parent
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    found = f"{folder}, {console.size_text(free)} free" + ("" if writable else ", not writable")
    advice = f"expected a writable folder with {LEAST_DISK_GB:.0f} GB free: choose another {flag} or make room"
    return Finding(name, found, writable and free >= LEAST_DISK_GB * 1e9, advice)


def check_gpu() -> Finding:
    """GPUs that torch can use; none is fine."""
    import torch

    n_gpus = torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(n_gpus))
    return Finding("GPU", names or "none: training runs on the CPU", True if n_gpus else None)


def check_port(port: int, use: str) -> Finding:
    """Whether a command's default port is free; a taken one is no fault, it may be MIDAS itself."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    return Finding(f"port {port}", f"{'in use' if taken else 'free'}, {use}", None if taken else True)
