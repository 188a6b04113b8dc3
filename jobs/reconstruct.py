"""python jobs/reconstruct.py [flags of `midas reconstruct`]

Raw journals under DATA_DIR to clean tables, on the cluster the job runs on. For `ray job submit`.
"""

import os
import sys

from midas_ray.cli import main

os.environ.setdefault("RAY_ADDRESS", "auto")

if __name__ == "__main__":
    sys.exit(main(["reconstruct", *sys.argv[1:]]))
