"""`python -m tests.cluster.make_features DATA_DIR`: a feature table of a planted market, on a machine without data."""

import sys

import numpy as np

from midas_ray.storage import Storage
from tests.dataset.synthetic import take, write_features
from tests.forecast.planted import planted_panel

if __name__ == "__main__":
    write_features(Storage(sys.argv[1]), take(planted_panel(720), np.arange(698)))
