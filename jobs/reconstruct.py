"""python jobs/reconstruct.py [flags of `midas reconstruct`]

Raw journals under DATA_DIR to clean tables, on the cluster the job runs on. For `ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("reconstruct", sys.argv[1:]))
