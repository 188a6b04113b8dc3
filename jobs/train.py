"""python jobs/train.py [flags of `midas train`]

Train the forecaster, on the cluster the job runs on. For `ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("train", sys.argv[1:]))
