"""python -m benchmarks.soak: hours of faults in minutes, judged against what the exchange itself knows.

    make soak                       one connection is always up: no gap but where the process was down
    make soak ARGS="--mode any"     both may be hit: gaps, each of them true
    make soak ARGS="--seed 5 --seconds 120 --faults 60 --kills 2"

A simulated exchange with a fault script and its truth on disk, `midas collect` beside it, killed at seeded moments and
started again; then `midas reconstruct`, `midas validate`, and the judge. Exit code 1 on anything wrong.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak_judge import faults_done, judge_soak
from benchmarks.soak_run import Course, Plan, midas, run
from midas_ray.simulate.judge import Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a soak. wrong: what is wrong besides the verdicts on the symbols."""

    lines: list[str]
    verdicts: list[Verdict]
    wrong: list[str]

    @property
    def right(self) -> bool:
        """Whether everything is as it must be."""
        return not self.wrong and not any(verdict.wrong for verdict in self.verdicts)


def soak(plan: Plan) -> Report:
    """Run and judge one soak."""
    started_s = time.monotonic()
    course = asyncio.run(run(plan))
    wrong = _wrong_ends(course)
    flags = ["--data-dir", str(plan.data_dir)]
    for command, more in (("reconstruct", ["--num-cpus", "2"]), ("validate", []), ("stats", [])):
        code = asyncio.run(midas(plan.folder / f"{command}.log", command, *flags, *more))
        if code != 0:
            wrong.append(f"midas {command} ended with exit code {code}; see {plan.folder / command}.log")
    verdicts = judge_soak(plan, course)
    done, skipped, kinds = faults_done(plan, plan.script())
    killed = sum(life.killed for life in course.lives)
    if done + skipped < plan.faults or killed < plan.kills:
        wrong.append(f"expected {plan.faults} faults and {plan.kills} kills, found {done} + {skipped} and {killed}")
    lines = [
        f"seed {plan.seed}, mode {plan.mode}, {plan.connections} connections, {plan.seconds:.0f} s: {done} faults "
        f"carried out, {skipped} skipped, {killed} kills, {len(course.lives)} collector processes, "
        f"{time.monotonic() - started_s:.0f} s in all",
        "faults: " + ", ".join(f"{kind} {count}" for kind, count in kinds.items()),
        *(verdict.line() for verdict in verdicts),
        *(f"  {example}" for verdict in verdicts for example in verdict.examples),
        _memory(course),
        *(f"  {line}" for line in wrong),
    ]
    return Report(lines, verdicts, wrong)


def _wrong_ends(course: Course) -> list[str]:
    """Processes that did not end as they should."""
    wrong = []
    last = course.lives[-1] if course.lives else None
    if last is None or last.exit_code != 0:
        wrong.append(f"the last collector ended with {last.exit_code if last else 'none'} on SIGTERM, expected 0")
    if course.exchange_exit != 0:
        wrong.append(f"the exchange ended with {course.exchange_exit}, expected 0")
    return wrong


def _memory(course: Course) -> str:
    """Memory of each collector at its end. Whether it grows under load is for `benchmarks.soak_memory`."""
    ends = [f"{life.rss[-1][1]:.0f} MB after {life.rss[-1][0]:.0f} s" for life in course.lives if life.rss]
    return "memory of the collectors: " + ", ".join(ends)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of market, faults and kills")
    parser.add_argument("--seconds", type=float, default=600.0, help="over which faults and kills are spread")
    parser.add_argument("--faults", type=int, default=200, help="scripted faults")
    parser.add_argument("--kills", type=int, default=5, help="SIGKILLs of the collector")
    parser.add_argument("--symbols", default="btcusdt,ethusdt,solusdt", help="separated by commas")
    parser.add_argument("--mode", choices=("one-up", "any"), default="one-up", help="whether both connections are hit")
    parser.add_argument("--connections", type=int, choices=(1, 2), default=2, help="connections of the collector")
    parser.add_argument("--keep", type=Path, help="folder to work in, kept; default a temporary one")
    values = parser.parse_args(arguments)
    folder = values.keep or Path(tempfile.mkdtemp(prefix="midas-soak-"))
    if values.keep is not None and folder.exists() and any(folder.iterdir()):
        parser.error(f"--keep {folder}: expected an empty folder")
    plan = Plan(
        folder=folder,
        seed=values.seed,
        seconds=values.seconds,
        faults=values.faults,
        kills=values.kills,
        symbols=tuple(values.symbols.split(",")),
        mode=values.mode,
        connections=values.connections,
    )
    report = soak(plan)
    print("\n".join([*report.lines, "all right" if report.right else f"WRONG; everything is kept in {folder}"]))
    if report.right and values.keep is None:
        shutil.rmtree(folder)
    return 0 if report.right else 1


if __name__ == "__main__":
    sys.exit(main())
