"""python jobs/forecast.py [flags of `midas forecast`]

Live forecasts beside a collector, on the node that holds its journals. For `ray job submit`; stop the job to end them.
"""

import os
import sys

from midas_ray.cli import main

os.environ.setdefault("RAY_ADDRESS", "auto")

if __name__ == "__main__":
    sys.exit(main(["forecast", *sys.argv[1:]]))
