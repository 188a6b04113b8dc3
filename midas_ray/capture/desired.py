"""The plan of what is to collect, on disk: DATA_DIR/.midas/collectors.json.

Written by `midas up`, `midas down --symbols` and jobs, under the head's lock; read by every collector when it starts
and when it is told to look again. It outlives the head node, so that `midas up` after a reboot starts all of it.
"""

import os
from pathlib import Path

import msgspec

from midas_ray.capture.groups import Plan
from midas_ray.errors import DataError, StorageError

KV_NAMESPACE = b"midas"


def plan_path(root: Path) -> Path:
    """Where the plan of a data folder lies."""
    return root / ".midas" / "collectors.json"


def read_plan(root: Path) -> Plan:
    """The plan; empty where none has been made. Raises DataError where the file is damaged."""
    return _on_disk(root) or Plan()


def write_plan(root: Path, plan: Plan) -> None:
    """Replace the plan, whole or not at all. Raises StorageError."""
    path = plan_path(root)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; check the disk and permissions") from None


def publish_plan(root: Path, plan: Plan) -> None:
    """Give the plan to the cluster too, for collectors on nodes whose disk is another one."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(_key(root), msgspec.json.encode(plan), overwrite=True, namespace=KV_NAMESPACE)


def plan_for_collector(root: Path) -> Plan:
    """The plan as a collector of the cluster sees it: from the data folder, else from the cluster.

    Raises DataError where the file is damaged, or there is no plan at all.
    """
    from ray.experimental.internal_kv import _internal_kv_get

    plan = _on_disk(root)
    if plan is not None:
        return plan
    data = _internal_kv_get(_key(root), namespace=KV_NAMESPACE)
    if data is None:
        raise DataError(f"{plan_path(root)}: expected what is to be collected, found no file; run midas up")
    return msgspec.json.decode(data, type=Plan)


def _on_disk(root: Path) -> Plan | None:
    path = plan_path(root)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; check the disk and permissions") from None
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path}: expected the list of collected symbols, found: {error}; delete it and run midas up"
        ) from None


def _key(root: Path) -> bytes:
    return f"collectors:{root}".encode()
