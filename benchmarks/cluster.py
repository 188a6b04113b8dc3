"""python -m benchmarks.cluster: a cluster of many slots and of many symbols, simulated on this machine.

    python -m benchmarks.cluster [--tasks 5000 --slots 48 --nodes 4] [--symbols 500]

Tasks: `midas reconstruct`'s and `midas features`' way to spread tasks, on a local Ray of several nodes; see
`cluster_tasks`. Symbols: `midas up` with quiet symbols of a simulated exchange; see `cluster_collectors`. Some 4 GB of
free memory and six minutes on two cores.
"""

from benchmarks import cluster_collectors, cluster_tasks
from benchmarks.rows import finish, parser_of


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--tasks", type=int, default=5000, help="tasks that sleep (default 5000; 0 = leave this out)")
    parser.add_argument("--slots", type=int, default=48, help="CPUs that the nodes say they have (default 48)")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="of the tasks that do nothing (default 3)")
    parser.add_argument("--symbols", type=int, default=500, help="quiet symbols (default 500; 0 = leave this out)")
    arguments = parser.parse_args()
    rows = []
    if arguments.symbols:
        rows += cluster_collectors.measure(arguments.symbols)
    if arguments.tasks:
        rows += cluster_tasks.measure(arguments.tasks, arguments.slots, arguments.nodes, arguments.rounds)
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()
