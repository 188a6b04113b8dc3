"""python -m benchmarks.scale: the same raw hours on one and on two Ray workers; with --full a day of ten symbols.

    python -m benchmarks.scale [--symbols 4 --hours 4 --rounds 3] [--full]

Workers: `midas reconstruct`'s own tasks on a private Ray of one and of two CPUs, one after the other in each round;
Ray's start and a first task on every worker (imports, kernels from their cache) do not count. --full: `midas
reconstruct` and `midas features` as commands on a simulated day of ten thin symbols, Ray's start and all; it takes some
minutes more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.clean import forget_clean
from benchmarks.rows import Row, Target, Timing, finish, parser_of
from midas_ray.ray_session import ray_session
from midas_ray.reconstruct.plan import HourTask, hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings, RaySettings
from midas_ray.simulate.history import HistorySummary, write_history
from midas_ray.spread import Result, errors_of, spread
from midas_ray.storage import Storage

VENUE = "binance-futures"
START_NS = 1_767_614_400_000_000_000  # 2026-01-05 12:00 UTC
DAY_START_NS = 1_767_571_200_000_000_000  # 2026-01-05 00:00 UTC
LEVEL_CHANGES = 105.0
WORKERS = (1, 2)
TEN = ("btcusdt", "ethusdt", "solusdt", "xrpusdt", "bnbusdt", "dogeusdt", "adausdt", "ltcusdt", "linkusdt", "avaxusdt")


def hour_tasks(data_dir: str, symbols: tuple[str, ...]) -> list[HourTask]:
    """The tasks that `midas reconstruct` makes: hours packed until they hold 64 MB."""
    storage, settings = Storage(data_dir), BookSettings(data_dir=data_dir)
    tasks: list[HourTask] = []
    for symbol in symbols:
        files = raw_files(storage, VENUE, symbol)
        tasks += plan_tasks(VENUE, symbol, files, hour_keys(files, settings), {})
    return tasks


def seconds_on(workers: int, data_dir: str, tasks: list[HourTask]) -> tuple[float, float]:
    """(seconds, processor seconds in the workers) of `tasks` on so many warm ones. Raises RuntimeError."""

    def work(task: HourTask) -> Result:
        before_s = time.process_time()
        reconstruct_hours(data_dir, task, BookSettings(data_dir=data_dir), beside=False)
        return {"processor_s": time.process_time() - before_s}

    with ray_session(RaySettings(num_cpus=workers)):
        spread("warm up", work, tasks[: 2 * workers])
        forget_clean(data_dir)
        before_s = time.perf_counter()
        results = spread("reconstruct", work, tasks)
        elapsed_s = time.perf_counter() - before_s
    failures = errors_of(results)
    if failures:
        raise RuntimeError("; ".join(failures))
    return elapsed_s, sum(result["processor_s"] for result in results)


def measure_workers(symbols: tuple[str, ...], hours: float, rounds: int) -> list[Row]:
    name = "scale: 1 and 2 Ray workers"
    with tempfile.TemporaryDirectory() as folder:
        summary = write_history(folder, VENUE, symbols, 7, START_NS, hours * 3600, level_changes=LEVEL_CHANGES)
        tasks = hour_tasks(folder, symbols)
        timing = {workers: Timing([], []) for workers in WORKERS}
        for _ in range(rounds):
            for workers in WORKERS:
                wall_s, processor_s = seconds_on(workers, folder, tasks)
                timing[workers].wall_s.append(wall_s)
                timing[workers].processor_s.append(processor_s)
    one, two = timing[1], timing[2]
    note = f"{len(tasks)} tasks, {summary.json_bytes / 1e6:,.0f} MB of JSON lines"
    ratio = one.over(two)["ratio"]
    return [
        one.row(name, "1 worker", against="2 workers", ratio=ratio, target=Target(1.8, "at least"), note=note),
        two.row(name, "2 workers", note=f"{two.over(one)['processor_ratio']:.2f} x the processor time of 1 worker"),
    ]


def _midas(*arguments: str) -> float:
    """Seconds of a `midas` command in a process of its own. Raises CalledProcessError."""
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "midas_ray.cli", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before


def measure_day(rounds: int) -> list[Row]:
    """A day of ten symbols, by the commands that a user gives, on two cores."""
    name = "scale: a day of ten symbols"
    spent: dict[str, list[float]] = {"reconstruct": [], "features": []}
    with tempfile.TemporaryDirectory() as folder:
        summary = write_history(folder, VENUE, TEN, 7, DAY_START_NS, 86400.0)
        for _ in range(rounds):
            for made in ("clean", "features", "feature_stats"):
                shutil.rmtree(Path(folder, made), ignore_errors=True)
            for command, seconds in spent.items():
                seconds.append(_midas(command, "--data-dir", folder, "--num-cpus", "2"))
    return _day_rows(name, spent, summary)


def _day_rows(name: str, spent: dict[str, list[float]], summary: HistorySummary) -> list[Row]:
    each = {command: Timing(seconds, seconds) for command, seconds in spent.items()}
    both = each["reconstruct"].then(each["features"])
    note = f"{summary.messages:,} messages, {summary.file_bytes / 1e9:.1f} GB of journals, on {os.cpu_count()} cores"
    rows = [
        Row(
            benchmark=name,
            what="midas reconstruct and midas features",
            value=both.median_s,
            least=min(both.wall_s),
            target=Target(180, "at most"),
            note=note,
        )
    ]
    return rows + [
        Row(benchmark=name, what=f"midas {command} alone", value=timing.median_s, least=min(timing.wall_s))
        for command, timing in each.items()
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--symbols", type=int, default=4, help="symbols of the comparison of workers (default 4)")
    parser.add_argument("--hours", type=float, default=4.0, help="hours of each (default 4)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="a day of ten symbols too")
    arguments = parser.parse_args()
    rows = measure_workers(TEN[: arguments.symbols], arguments.hours, arguments.rounds)
    if arguments.full:
        rows += measure_day(rounds=1)
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()
