"""What submitting one of this project's jobs costs over Ray's own cost, on a warm cluster of this machine.

    python -m benchmarks.submit [--rounds 7]

A head node of `midas up` in a folder of its own. In turn in each round: `ray job submit -- python -c pass`; the same
with this project's runtime environment and upload; and `jobs/reconstruct.py` on data that are up to date. The
difference to the first is what counts, pair by pair. Ray looks at a job once a second, so that a pair says little.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.rows import Row, Target, Timing, finish, in_turn, parser_of

NAME = "submit"
CHECKOUT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent
MOST_OVER_S = 1.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(tool: str, *arguments: str, environment: dict[str, str]) -> None:
    """Raises CalledProcessError."""
    subprocess.run(
        [str(TOOLS / tool), *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def over(timing: Timing, floor: Timing) -> float:
    """Median of the pairs' differences, s."""
    return statistics.median(a - b for a, b in zip(timing.wall_s, floor.wall_s, strict=True))


def measure(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{folder}/token"}
        data = ["--data-dir", f"{folder}/data"]
        run("midas", "simulate", "--history", "10s", "--symbols", "btcusdt", *data, environment=environment)
        run("midas", "reconstruct", *data, environment=environment)
        address = f"http://127.0.0.1:{(port := free_port())}"
        run("midas", "up", *data, "--symbols", "", "--dashboard-port", str(port), environment=environment)

        def submit(*words: str) -> None:
            run("ray", "job", "submit", "--address", address, *words, environment=environment)

        ours = ["--runtime-env", str(CHECKOUT / "runtime_env.yaml"), "--working-dir", str(CHECKOUT), "--"]
        try:
            timing = in_turn(
                {
                    "floor": lambda: submit("--", "python", "-c", "pass"),
                    "uploaded": lambda: submit(*ours, "python", "-c", "pass"),
                    "stage": lambda: submit(*ours, "python", "jobs/reconstruct.py", *data),
                },
                rounds,
            )
        finally:
            run("midas", "down", *data, environment=environment)
    floor = timing.pop("floor")
    titles = {"uploaded": "the same entrypoint, with our upload", "stage": "jobs/reconstruct.py, nothing to do"}
    rows = [floor.row(NAME, "ray job submit -- python -c pass (the floor)")]
    for name, each in timing.items():
        rows.append(each.row(NAME, titles[name], against="the floor", **each.over(floor)))
        target = Target(MOST_OVER_S, "at most")
        rows.append(Row(benchmark=NAME, what=f"{titles[name]}: over the floor", value=over(each, floor), target=target))
    return rows


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    finish(measure(arguments.rounds), arguments.json)


if __name__ == "__main__":
    main()
