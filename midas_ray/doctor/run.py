"""`midas doctor` itself."""

import os
import sys
from collections.abc import Iterator

from midas_ray import console
from midas_ray.doctor import access, clock, cluster, machine, places, ports
from midas_ray.doctor.finding import Finding
from midas_ray.settings import Doctor
from midas_ray.storage import Storage


def doctor(settings: Doctor) -> int:
    """Run `midas doctor`; gives 1 where something is missing."""
    bad = False
    for finding in findings(settings):
        console.out.print(finding.line, markup=False)
        bad |= finding.ok is False
    return 1 if bad else 0


def findings(settings: Doctor) -> Iterator[Finding]:
    """All of them, one after the other: some take a second."""
    yield machine.check_python(sys.version_info[:3])
    yield from machine.check_packages()
    yield machine.check_cores(os.cpu_count() or 1)
    yield machine.check_memory(machine.memory_bytes())
    yield from places.check_data_dir(Storage.of(settings))
    yield machine.check_gpu()
    yield from ports.check_ports()
    yield clock.check_kernel(clock.kernel_clock())
    if settings.online:
        yield clock.check_exchange(settings)
    yield access.check_mode()
    yield access.check_token_file()
    yield from cluster.check_cluster(settings.cluster_yaml)
    yield from access.check_vast_keys()
    if settings.online:
        yield access.check_vast_account(settings.vast_url)
    yield machine.check_programs()
    yield machine.check_namespaces()
