"""Quantiles of returns in units of a volatility, about their median: what the volatility baselines scale.

Legend: n origins, H horizons, Q quantiles.
"""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def standard_quantiles(standard_nH: Float, quantiles_Q: Float) -> Float:
    """(H, Q) empirical quantiles of standardised returns, less their median."""
    quantiles = np.quantile(standard_nH, np.append(quantiles_Q, 0.5), axis=0)
    result: Float = (quantiles[:-1] - quantiles[-1]).T
    return result
