"""python jobs/train.py [flags of `midas train`]

Train the forecaster, on the cluster the job runs on. For `ray job submit`.
"""

import os
import sys

from midas_ray.cli import main

os.environ.setdefault("RAY_ADDRESS", "auto")

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
