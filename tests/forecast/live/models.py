"""Small models that need no training, and panels as live features would publish them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.splits import Split, time_split
from midas_ray.dataset.windows import window_origins
from midas_ray.forecast.fitting import forecaster_of, new_module, prepare
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.live.publication import Publication
from tests.forecast.planted import COLUMNS, HORIZON, LENGTH, small_network


def split_of(panel: Panel) -> Split:
    return time_split(panel, window_origins(panel, LENGTH, HORIZON, COLUMNS), 0.15, 0.3, purge=HORIZON)


def untrained(panel: Panel, seed: int = 0) -> Forecaster:
    """A calibrated model whose weights are those of its start, but for noise, so that every input matters."""
    split = split_of(panel)
    training = prepare(panel, split.train, split.validation, small_network(seed=seed), columns=COLUMNS)
    rng = np.random.default_rng(seed)
    weights = {}
    for name, weight in new_module(training).network.state_dict().items():
        noise = weight.new_tensor(0.05 * rng.standard_normal(tuple(weight.shape)))
        weights[name] = weight + noise if weight.is_floating_point() else weight
    return forecaster_of(training, weights, panel).calibrated(panel, split.calibration)


def saved(forecaster: Forecaster, folder: Path) -> Path:
    folder.mkdir(parents=True)
    forecaster.save(folder)
    return folder


def publication(panel: Panel, row: int, revision: int = 1, **changes: object) -> Publication:
    made = Publication(
        ts_us=int(panel.ts_us[row]),
        symbol=panel.symbols[panel.symbol_index[row]],
        revision=revision,
        closed_by="streams",
        closed_ns=int(panel.ts_us[row]) * 1000,
        published_ns=int(panel.ts_us[row]) * 1000 + 10**8,
        values=panel.values[row],
        kinds=panel.kinds[row],
        coverage=1.0,
        trades_coverage=1.0,
    )
    return replace(made, **changes)
