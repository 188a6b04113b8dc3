"""python jobs/tune.py [flags of `midas tune`]

Search the forecaster's settings, on the cluster the job runs on. For `ray job submit`.
"""

import os
import sys

from midas_ray.cli import main

os.environ.setdefault("RAY_ADDRESS", "auto")

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
