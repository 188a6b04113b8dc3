"""python jobs/tune.py [flags of `midas tune`]

Search the forecaster's settings, on the cluster the job runs on. For `ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("tune", sys.argv[1:]))
