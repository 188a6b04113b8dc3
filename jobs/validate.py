"""python jobs/validate.py [flags of `midas validate`]

Data-quality report, on the cluster the job runs on. For `ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("validate", sys.argv[1:]))
