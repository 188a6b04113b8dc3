"""python jobs/forecast.py [flags of `midas forecast`]

Live forecasts, on the cluster the job runs on. For `ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("forecast", sys.argv[1:]))
