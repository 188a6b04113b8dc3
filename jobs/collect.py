"""python jobs/collect.py [flags of `midas collect`]

Detached collectors, on the cluster the job runs on: they go on after the job has ended, or are taken off again after
--duration or `ray job stop`. For `ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("collect", sys.argv[1:]))
