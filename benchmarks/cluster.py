"""python -m benchmarks.cluster: a cluster of many slots and of many symbols, simulated on this machine.

    python -m benchmarks.cluster [--tasks 5000 --slots 48 --nodes 4] [--symbols 500]

Tasks: `midas reconstruct`'s and `midas features`' way to spread tasks, on a local Ray of several nodes; see
`cluster_tasks`. Symbols: `midas up` with quiet symbols of a simulated exchange; see `cluster_collectors`. Some 4 GB of
free memory and six minutes on two cores.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import cluster_collectors, cluster_tasks
from benchmarks.rows import Row, finish, parser_of


def in_a_process_of_its_own(*without: str) -> list[Row]:
    """One part: two Rays after one another in one process are not alike. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.cluster", *sys.argv[1:], *without, "--json", str(kept)]
        subprocess.run(command, check=True)
        return [Row.from_json(row) for row in json.loads(kept.read_text())]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--tasks", type=int, default=5000, help="tasks that sleep (default 5000; 0 = leave this out)")
    parser.add_argument("--slots", type=int, default=48, help="CPUs that the nodes say they have (default 48)")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="of the tasks that do nothing (default 3)")
    parser.add_argument("--symbols", type=int, default=500, help="quiet symbols (default 500; 0 = leave this out)")
    arguments = parser.parse_args()
    rows = []
    if arguments.symbols and arguments.tasks:
        rows = in_a_process_of_its_own("--tasks", "0") + in_a_process_of_its_own("--symbols", "0")
    elif arguments.symbols:
        rows = cluster_collectors.measure(arguments.symbols)
    elif arguments.tasks:
        rows = cluster_tasks.measure(arguments.tasks, arguments.slots, arguments.nodes, arguments.rounds)
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()
