"""Small panels and networks that train in seconds, with or without something to learn."""

import numpy as np

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.splits import Split, time_split
from midas_ray.dataset.windows import window_origins
from midas_ray.features.registry import POSITION
from midas_ray.settings import NetworkSettings
from tests.dataset.synthetic import rebuilt, synthetic_panel

COLUMNS = ("volume", "microprice", "ofi", "returns", "hour_sin", "hour_cos")
LENGTH, HORIZON = 6, 2
SIGNAL = "returns"


def small_network(**changes: object) -> NetworkSettings:
    """Hidden 8, 6 buckets in, 2 out."""
    values: dict[str, object] = {
        "input_length": LENGTH, "output_length": HORIZON, "hidden_dim": 8, "n_heads": 1, "dropout": 0.0,
        "epochs": 2, "batch_size": 64, "learning_rate": 0.01, "quantiles": (0.1, 0.5, 0.9),
    }  # fmt: skip
    return NetworkSettings(**(values | changes))


def planted_panel(rows: int = 900, shuffled: bool = False, seed: int = 0) -> Panel:
    """`returns` at t is the move to t+1 plus a tenth of it as noise; shuffled, the same numbers in another order."""
    panel = synthetic_panel(rows, seed=seed)
    rng = np.random.default_rng(seed + 1)
    move = np.append(np.diff(np.log(panel.price)), 0.0)
    signal = move + 0.1 * move.std() * rng.standard_normal(rows)
    values = panel.values.copy()
    values[:, POSITION[SIGNAL]] = rng.permutation(signal) if shuffled else signal
    return rebuilt(panel, values)


def split_of(panel: Panel) -> Split:
    origins = window_origins(panel, LENGTH, HORIZON, COLUMNS)
    return time_split(panel, origins, 0.15, 0.25, purge=HORIZON)
