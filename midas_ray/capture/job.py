"""Collectors on any Ray cluster, for `jobs/collect.py`: what `midas up` does on its own head.

What imports Ray is imported late: `ray_session` sets what Ray reads when it is imported.
"""

import os
import sys
import time
from pathlib import Path

from midas_ray import console
from midas_ray.capture.desired import read_plan
from midas_ray.capture.groups import remove_symbols
from midas_ray.capture.head import head_lock
from midas_ray.capture.layout import check_layout
from midas_ray.capture.service import choose_symbols, prepare
from midas_ray.capture.session import local_root
from midas_ray.capture.upload import upload_rest
from midas_ray.errors import MidasError
from midas_ray.ray_session import ray_session
from midas_ray.settings import Collect, RaySettings, parse_settings
from midas_ray.storage import Storage


def main(argv: list[str]) -> int:
    """Collect on the cluster at RAY_ADDRESS: going on after the job, or taken off again after --duration."""
    try:
        settings = parse_settings(Collect, "collect", argv)
        root = local_root(settings)
        check_layout(root)
        asked = choose_symbols(root, settings)
        with ray_session(RaySettings(ray_address=os.environ["RAY_ADDRESS"])):
            storage = Storage.of(settings)
            symbols = begin(root, settings, asked, storage.store_address)
            if settings.duration is not None:
                time.sleep(settings.duration)
                take_off(root, symbols, storage.store_address)
                return upload_rest(root, storage)
    except MidasError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def begin(root: Path, settings: Collect, asked: tuple[str, ...] | None, store: str | None) -> set[str]:
    """Start what is asked for on the cluster that this process has joined; gives its symbols once all are live.

    store: as of `CollectorActor`."""
    from midas_ray.capture.detached import apply_plan, running_groups, wait_until_live

    with head_lock(root):
        plan, began = prepare(root, settings, asked, running_groups(root, read_plan(root)))
        apply_plan(root, plan, store)
    symbols = began | set(plan.symbols if asked is None else asked)
    for health in wait_until_live(root, plan, symbols):
        console.out.print(f"{health.symbol}: collector {health.state}")
    return symbols


def take_off(root: Path, symbols: set[str], store: str | None) -> None:
    """Stop collecting these; all others go on."""
    from midas_ray.capture.detached import apply_plan, end_limits

    with head_lock(root):
        apply_plan(root, remove_symbols(read_plan(root), symbols), store)
    end_limits()
    console.out.print(f"the duration has passed: {', '.join(sorted(symbols))} sealed")
