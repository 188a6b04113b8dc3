"""The folds of a walk-forward as parallel Ray tasks, one thread each."""

import contextlib
from collections.abc import Callable
from typing import Any

from midas_ray.dataset.panel import Panel
from midas_ray.errors import MidasError, UsageError
from midas_ray.evaluate.folds import Fit, FoldPlan, FoldResult, judge_fold
from midas_ray.settings import NetworkSettings

CANCEL_PATIENCE_S = 5.0


def gpus_per_fold(requested: int | None, folds: int) -> float:
    """Share of a GPU for each fold; 0 = CPU. Raises UsageError where more are asked for than Ray has."""
    import ray

    found = int(ray.cluster_resources().get("GPU", 0))
    if requested is not None and requested > found:
        raise UsageError(f"--gpus {requested}: expected at most the GPUs that Ray has, found {found}")
    return min(1.0, (found if requested is None else requested) / folds)


def _fold_task(
    panel: Panel, plan: FoldPlan, network: NetworkSettings, fit: Fit | None, accelerator: str
) -> FoldResult | MidasError:
    """An expected failure is a result: if raised, Ray would print its traceback for the other folds."""
    import torch

    from midas_ray.forecast.fitting import fit as fit_transformer

    torch.set_num_threads(1)
    try:
        return judge_fold(panel, plan, network, fit or fit_transformer, accelerator)
    except MidasError as error:
        return error
    except SystemExit:  # Lightning's answer to an interrupt; let through, it would end the worker with a complaint
        return MidasError(f"fold {plan.number}: interrupted")


def run_folds(
    panel: Panel,
    plans: list[FoldPlan],
    network: NetworkSettings,
    *,
    gpus: int | None,
    done: Callable[[FoldResult], None],
    fit: Fit | None = None,
) -> list[FoldResult]:
    """Judge every fold on the Ray that is initialised; `done` is called as each ends. In order of the plans.

    `fit` stands in for the Temporal Fusion Transformer in tests. Raises the MidasError of the first fold that fails.
    """
    import ray

    share = gpus_per_fold(gpus, len(plans))
    task = ray.remote(_fold_task).options(num_cpus=1, num_gpus=share, max_retries=1)
    shared_panel, shared_fit = ray.put(panel), ray.put(fit)
    accelerator = "gpu" if share else "cpu"
    running: dict[Any, int] = {
        task.remote(shared_panel, plan, network, shared_fit, accelerator): plan.number for plan in plans
    }
    results: dict[int, FoldResult] = {}
    try:
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(ready)
            results[number] = _result_of(ready, number)
            done(results[number])
    finally:
        _cancel(list(running))
    return [results[plan.number] for plan in plans]


def _cancel(references: list[Any]) -> None:
    """Ask the tasks to stop, so that they remove their work folders; end those that do not."""
    import ray

    if not references:
        return
    for reference in references:
        ray.cancel(reference, force=False)
    _, left = ray.wait(references, num_returns=len(references), timeout=CANCEL_PATIENCE_S)
    for reference in left:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.cancel(reference, force=True)


def _result_of(reference: Any, number: int) -> FoldResult:
    import ray

    try:
        result: FoldResult | MidasError = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        reason = str(error).splitlines()[0]
        raise MidasError(
            f"fold {number}: expected its worker to finish, found it lost ({reason}); lower --num-cpus"
        ) from None
    if isinstance(result, MidasError):
        raise result
    return result
