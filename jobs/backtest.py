"""python jobs/backtest.py [flags of `midas backtest`]

Walk-forward backtest and its report, on the cluster the job runs on. For `ray job submit`.
"""

import os
import sys

from midas_ray.cli import main

os.environ.setdefault("RAY_ADDRESS", "auto")

if __name__ == "__main__":
    sys.exit(main(["backtest", *sys.argv[1:]]))
