"""From a job that asks for a GPU to its first training step, over the delays of Vast.ai and the node's own setup.

    python -m benchmarks.renting

The whole path in namespaces of its own, as root on Linux: `ray up`, a training on a node that has to be rented from the
fake Vast.ai with the real one's delays and limits, and the same training once more on the idle node. The difference of
the two, less the delays and the setup, is what the provider, its links and Ray's autoscaler add; it is below zero where
the job prepares itself meanwhile. What the provider's own steps take over the delays stands beside it.
"""

import sys

from benchmarks.rows import Row, Target, finish, parser_of
from midas_ray.cloud.fake.outer import available
from tests.cluster import first_step
from tests.cluster.outer import inside

NAME = "renting"
MOST_OVER_S = 3.0
AT_MOST_S = 900.0


def measure() -> list[Row]:
    found = inside(first_step.to_the_first_epoch, timeout_s=AT_MOST_S)
    over_s = found["rented_s"] - found["idle_s"] - found["delays_s"] - found["setup_s"]
    steps = sorted(((at, name) for name, at in found["steps"].items() if name != "asked"))
    note = ", ".join(f"{name} {at:.1f} s" for at, name in steps)
    figures = {
        "asked to first epoch, node to be rented": found["rented_s"],
        "asked to first epoch, node idle (the floor)": found["idle_s"],
        "the fake's delays until it runs": found["delays_s"],
        "setup: packages checked, Ray started": found["setup_s"],
    }
    rows = [Row(benchmark=NAME, what=what, value=value) for what, value in figures.items()]
    target = Target(MOST_OVER_S, "at most")
    own_s = found["steps"]["ports"] - found["delays_s"]
    return [
        *rows,
        Row(benchmark=NAME, what="noticed, SSH and ports, over the delays", value=own_s, target=target, note=note),
        Row(benchmark=NAME, what="to the first epoch, over floor, delays and setup", value=over_s, target=target),
    ]


def main() -> None:
    arguments = parser_of(__doc__).parse_args()
    reason = available()
    if reason is not None:
        sys.stderr.write(f"{NAME}: left out: {reason}\n")
    finish(measure() if reason is None else [], arguments.json)


if __name__ == "__main__":
    main()
