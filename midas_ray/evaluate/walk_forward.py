"""Fitting all forecasters of all folds as parallel Ray tasks, one thread each."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from midas_ray.dataset.panel import Panel
from midas_ray.errors import MidasError, UsageError
from midas_ray.evaluate.folds import Fit, FittedForecasts, FoldPlan, FoldResult, assemble, fit_and_forecast
from midas_ray.forecast.baselines import TFT
from midas_ray.progress import LINE_EVERY_S, LinesNowAndThen
from midas_ray.settings import NetworkSettings

CANCEL_PATIENCE_S = 5.0


def gpus_per_task(requested: int | None, tasks: int) -> float:
    """Share of a GPU for each network; 0 = CPU. Raises UsageError where more are asked for than Ray has."""
    import ray

    found = int(ray.cluster_resources().get("GPU", 0))
    if requested is not None and requested > found:
        raise UsageError(f"--gpus {requested}: expected at most the GPUs that Ray has, found {found}")
    return min(1.0, (found if requested is None else requested) / max(tasks, 1))


def _task(
    panel: Panel, plan: FoldPlan, name: str, seed: int, network: NetworkSettings, fit: Fit | None, accelerator: str
) -> FittedForecasts | MidasError:
    """An expected failure is a result: if raised, Ray would print its traceback for the other folds."""
    import torch

    from midas_ray.forecast.fitting import fit as fit_transformer

    torch.set_num_threads(1)
    try:
        return fit_and_forecast(panel, plan, name, seed, network, fit or fit_transformer, accelerator)
    except MidasError as error:
        return error
    except SystemExit:  # Lightning's answer to an interrupt; let through, it would end the worker with a complaint
        return MidasError(f"fold {plan.number}: interrupted")


def run_folds(
    panel: Panel,
    plans: list[FoldPlan],
    network: NetworkSettings,
    names: Sequence[str],
    seeds: int,
    *,
    gpus: int | None,
    done: Callable[[FoldPlan, FittedForecasts], None],
    fit: Fit | None = None,
) -> list[FoldResult]:
    """Fit all forecasters of all folds, as `fit_all`, and put each fold's side by side; in order of the plans."""
    results = fit_all(panel, plans, network, names, seeds, gpus=gpus, done=done, fit=fit)
    return [assemble(panel, plan, results[plan.number], network.quantiles) for plan in plans]


def fit_all(
    panel: Panel,
    plans: list[FoldPlan],
    network: NetworkSettings,
    names: Sequence[str],
    seeds: int,
    *,
    gpus: int | None,
    done: Callable[[FoldPlan, FittedForecasts], None],
    fit: Fit | None = None,
) -> dict[int, list[FittedForecasts]]:
    """Fit every forecaster of every fold on the Ray that is initialised; `done` is called as each ends.

    The network is trained with `seeds` seeds, from `network.seed` on. `fit` stands in for it in tests. Gives by number
    of the fold what each forecaster said, in order of `names` and seeds. Raises the MidasError of the first task that
    fails.
    """
    import ray

    from midas_ray.forecast.workers import check_for_gpu

    wanted = [
        (plan, name, network.seed + k) for plan in plans for name in names for k in range(seeds if name == TFT else 1)
    ]
    # The network takes longest: its tasks go first.
    wanted.sort(key=lambda each: each[1] != TFT)
    share = gpus_per_task(gpus, sum(name == TFT for _, name, _ in wanted))
    if TFT in names:
        check_for_gpu(network, share > 0)
    shared_panel, shared_fit = ray.put(panel), ray.put(fit)
    running: dict[Any, FoldPlan] = {}
    for plan, name, seed in wanted:
        gpu = share if name == TFT else 0.0
        title = f"fold {plan.number} {name}" + (f" seed {seed}" if name == TFT else "")
        task = ray.remote(_task).options(name=title, num_cpus=1, num_gpus=gpu, max_retries=1)
        accelerator = "gpu" if gpu else "cpu"
        running[task.remote(shared_panel, plan, name, seed, network, shared_fit, accelerator)] = plan
    results: dict[int, list[FittedForecasts]] = {plan.number: [] for plan in plans}
    try:
        lines = LinesNowAndThen()
        while running:
            ready_ones, _ = ray.wait(list(running), num_returns=1, timeout=LINE_EVERY_S)
            if not ready_ones:
                lines.say(lambda: f"backtest: {len(wanted) - len(running)} of {len(wanted)} fits done")
                continue
            ready = ready_ones[0]
            plan = running.pop(ready)
            result = _result_of(ready, plan.number)
            results[plan.number].append(result)
            done(plan, result)
    finally:
        _cancel(list(running))
    order = {name: position for position, name in enumerate(names)}
    return {number: sorted(own, key=lambda r: (order[r.name], r.seed)) for number, own in results.items()}


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


def _result_of(reference: Any, number: int) -> FittedForecasts:
    import ray

    try:
        result: FittedForecasts | MidasError = ray.get(reference)
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
