"""What became of a forecast, once all its horizons are known. No I/O."""

import numpy as np

from midas_ray.dataset.panel import Panel
from midas_ray.forecast.baselines.trailing import trailing_quantiles_bps
from midas_ray.forecast.live.record import ForecastLine, ScoreLine, iso
from midas_ray.forecast.scores import inside, pinball_loss_bps, reported

BASELINE_WINDOW = 480
"""Realised returns of the trailing baseline, as much as the history holds at any time."""


def score(panel: Panel, line: ForecastLine, row: int) -> ScoreLine | None:
    """The scores of a forecast whose origin is `row` of the panel; None where a price on the way is unknown.

    The panel holds the H rows after it.
    """
    horizons = len(line.value_bps)
    actual = 1e4 * np.log(panel.price[row + 1 : row + 1 + horizons] / panel.price[row])
    if not np.isfinite(actual).all():
        return None
    taus = np.array(line.quantiles)
    forecast = np.array(line.value_bps)[None]
    low, _, high = reported(taus)
    baseline = trailing_quantiles_bps(panel, np.array([row]), horizons, taus, BASELINE_WINDOW)
    known = np.isfinite(baseline).all()
    return ScoreLine(
        ts=iso(line.ts_us),
        ts_us=line.ts_us,
        symbol=line.symbol,
        model=line.model,
        actual_bps=actual.tolist(),
        inside=inside(actual[None], forecast[:, :, [low, high]])[0].tolist(),
        pinball_bps=pinball_loss_bps(actual[None], forecast, taus)[0].mean(axis=1).tolist(),
        trailing_pinball_bps=pinball_loss_bps(actual[None], baseline, taus)[0].mean(axis=1).tolist() if known else None,
    )
