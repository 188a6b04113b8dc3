"""python jobs/collect.py [flags of `midas collect`]

Detached collectors on the cluster the job runs on, which go on after the job has ended. For
`ray job submit`. DATA_DIR has to be an absolute path on the node.
"""

import os
import sys

from midas_ray.capture.job import main

os.environ.setdefault("RAY_ADDRESS", "auto")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
