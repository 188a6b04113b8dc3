"""python jobs/pipeline.py [flags of `midas pipeline`]

The stages from raw journals to a backtest, each where its inputs changed, on the cluster the job runs on. For
`ray job submit`.
"""

import sys

from midas_ray.job import run_job

if __name__ == "__main__":
    sys.exit(run_job("pipeline", sys.argv[1:]))
