"""Joining a Ray cluster, or starting a private one that ends with the command."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from midas_ray import ray_token
from midas_ray.errors import UsageError
from midas_ray.interrupt import held_back
from midas_ray.settings import RaySettings

WORKER_ENVIRONMENT = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
"""Environment of every task: one thread each, so that Ray alone decides how many cores are used."""

LEASE_MS = "10000"
"""How long a worker is kept for one task after the other before Ray asks again who may have it. With Ray's 500 ms every
task of a second ends a lease, and where all nodes are full the requests for the next go round between them: 0.2 of a
core of the driver and of each raylet."""

CONNECT_S = 5.0
"""How long a cluster's address may take to accept a connection."""

_RUNTIME_ENV = {"env_vars": WORKER_ENVIRONMENT}
_private = False


def is_private() -> bool:
    """Whether Ray was started here, for this command alone: then all of it runs on this machine, and stays there."""
    return _private


@contextlib.contextmanager
def ray_session(settings: RaySettings) -> Iterator[None]:
    """Inside the block `ray` is initialised: by the caller, on `ray_address`, in the running job, or privately.

    A private Ray listens on loopback only, without dashboard and usage statistics, and ends with the block.
    Raises UsageError where `ray_address` does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A submitted job brings the same variables in its own runtime environment.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    os.environ.setdefault("RAY_worker_lease_timeout_milliseconds", LEASE_MS)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = settings.ray_address or os.environ.get("RAY_ADDRESS")
    if address and address.startswith(("127.0.0.1:", "localhost:")):
        # Else Ray takes loopback for this machine's address on the network, where `midas up`'s head does not listen.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if address:
        ray_token.show_own_token()
    elif "ray" not in sys.modules:
        ray_token.use_token(None)
    import ray

    global _private
    if ray.is_initialized():
        yield
        return
    try:
        with held_back():  # cut in the middle, Ray leaves processes behind
            _join(address) if address else _start_private(settings)
        _private = not address
        yield
    finally:
        with held_back():
            ray.shutdown()
        _private = False


@contextlib.contextmanager
def joined_if_named(settings: RaySettings) -> Iterator[bool]:
    """Whether this process is on a Ray inside the block: on that of `ray_address`, or of the job that it runs in.

    For what needs no Ray, but has metrics that only a Ray serves; it then ends with that Ray, a minute later at most.
    Raises UsageError as `ray_session`.
    """
    if not (settings.ray_address or os.environ.get("RAY_ADDRESS")):
        yield False
        return
    with ray_session(settings):
        yield True


def named_job() -> Any:
    """What Ray's dashboard calls a command that joins a cluster: `midas train`. A submitted job keeps its own name."""
    from ray.job_config import JobConfig

    program = Path(sys.argv[0]).name
    name = " ".join([program, *sys.argv[1:2]]) if program == "midas" else program
    return JobConfig(metadata={"job_name": name})


def _join(address: str) -> None:
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    if address == "auto":  # Ray itself would try for minutes to join one that it found, and that does not answer
        address = canonicalize_bootstrap_address(address) or address
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except OSError as error:
            raise UsageError(f"--ray-address {address}: no Ray cluster answers there ({error})") from None
        ray_token.check_accepted(address, f"--ray-address {address}")
    try:
        ray.init(
            address=address,
            runtime_env=_RUNTIME_ENV,
            job_config=named_job(),
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.AuthenticationError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--ray-address {address}: no Ray cluster answers there ({reason})") from None


def _start_private(settings: RaySettings) -> None:
    import ray

    # A local ray.init() would write a token file that later `ray start` picks up: see LOG.md.
    ray_token.use_token(None)
    for name in ("RAY_gcs_storage", "RAY_gcs_storage_path"):  # in a worker of `midas up`'s head
        os.environ.pop(name, None)
    with _loopback_alone():
        ray.init(
            address="local",
            num_cpus=settings.num_cpus or os.cpu_count(),
            object_store_memory=512 * 2**20,
            include_dashboard=False,
            runtime_env=_RUNTIME_ENV,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address="127.0.0.1",
        )


@contextlib.contextmanager
def _loopback_alone() -> Iterator[None]:
    """A Ray that is started inside the block listens on loopback alone, its workers too.

    Where the machine has a route to other networks Ray else takes 127.0.0.1 for its address there, and everything it
    starts listens on every interface. What prevents that is the setting with which Ray keeps to itself on a Mac.
    """
    from ray._private import ray_constants

    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    variable = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if variable is None:
            del os.environ[name]
        else:
            os.environ[name] = variable
