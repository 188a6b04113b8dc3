"""python jobs/features.py [flags of `midas features`]

Clean tables to the 72 features, on the cluster the job runs on. For `ray job submit`.
"""

import os
import sys

from midas_ray.cli import main

os.environ.setdefault("RAY_ADDRESS", "auto")

if __name__ == "__main__":
    sys.exit(main(["features", *sys.argv[1:]]))
