"""python jobs/features.py [flags of `midas features`]

Clean tables to features, on the cluster the job runs on. For `ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("features", sys.argv[1:]))
