"""python jobs/backtest.py [flags of `midas backtest`]

Walk-forward backtest, on the cluster the job runs on. For `ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("backtest", sys.argv[1:]))
