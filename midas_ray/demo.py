"""`midas demo`: every stage once, on simulated data, ending with two reports to open."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from midas_ray import settings as s
from midas_ray.console import out
from midas_ray.errors import MidasError, StorageError, UsageError
from midas_ray.ray_session import ray_session
from midas_ray.storage import Storage

SYMBOL = "btcusdt"
HISTORY_START = "2026-01-05T00:00:00Z"
NETWORK: dict[str, Any] = {"hidden_dim": 16, "n_heads": 1, "epochs": 4, "patience": 2, "batch_size": 64}
"""A network small enough for two CPU cores; the reports say so."""

_MARKER = ".midas-demo"


def demo(settings: s.Demo) -> int:
    """Run all stages. Raises MidasError with one line; leaves no process behind, also when interrupted."""
    if "://" in settings.data_dir:
        raise UsageError(f"midas demo: --data-dir {Storage(settings.data_dir).shown}: expected a local folder")
    root = _fresh_folder(Path(settings.data_dir).resolve())
    started = time.monotonic()
    with ray_session(s.RaySettings.model_construct(num_cpus=os.cpu_count())):
        _stages(settings, root)
    out.print(f"\ndone in {time.monotonic() - started:.0f} s; open in a browser:")
    for name in ("data_quality.html", "backtest_results.html"):
        out.print(f"  {root / 'history' / 'reports' / name}")
    return 0


def _stages(settings: s.Demo, root: Path) -> None:
    # Imported here: `midas demo --help` and a refused folder need none of it.
    from midas_ray.evaluate.run import backtest
    from midas_ray.features.run import features
    from midas_ray.forecast.run import train
    from midas_ray.live_demo import watch_live
    from midas_ray.quality.run import validate
    from midas_ray.reconstruct.run import reconstruct
    from midas_ray.simulate.run import simulate

    history = str(root / "history")
    common: dict[str, Any] = {"data_dir": history, "symbols": (SYMBOL,)}
    models: dict[str, Any] = {"model_dir": str(root / "models"), "log_dir": str(root / "logs")}
    stages: list[tuple[str, Callable[[], int]]] = [
        ("live capture from the simulated exchange", lambda: watch_live(root / "live", SYMBOL, settings)),
        (
            f"{settings.history / 3600:g} h of simulated history",
            lambda: simulate(
                s.Simulate.model_construct(**common, seed=settings.seed, history=settings.history, start=HISTORY_START)
            ),
        ),
        ("reconstruct: the book each 100 ms", lambda: reconstruct(s.Reconstruct.model_construct(**common))),
        ("features: 72 a minute", lambda: features(s.Features.model_construct(**common))),
        ("validate: data quality", lambda: validate(s.Validate.model_construct(**common))),
        ("train: Temporal Fusion Transformer", lambda: train(s.Train.model_construct(**common, **models, **NETWORK))),
        (
            "backtest: walk-forward, retrained in each fold",
            lambda: backtest(s.Backtest.model_construct(**common, **NETWORK, seeds=1)),
        ),
    ]
    for number, (title, stage) in enumerate(stages, 1):
        out.print(f"\n[{number}/{len(stages)}] {title}")
        began = time.monotonic()
        if stage() != 0:
            raise MidasError(f"midas demo: the stage '{title}' failed; its own line above says why")
        out.print(f"    {time.monotonic() - began:.1f} s")


def _fresh_folder(root: Path) -> Path:
    """An empty folder: new, or emptied where an earlier demonstration made it. Raises UsageError, StorageError."""
    if root.exists() and not (root / _MARKER).is_file() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(
            f"midas demo: --data-dir {root}: expected a new folder or an earlier demonstration, found other files; "
            "choose another"
        )
    try:
        if root.exists():
            shutil.rmtree(root)
        root.mkdir(parents=True)
        (root / _MARKER).touch()
    except OSError as error:
        raise StorageError(
            f"midas demo: --data-dir {root}: expected a writable folder, found: {error.strerror}"
        ) from None
    return root
