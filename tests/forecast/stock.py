"""pytorch-forecasting's own data set on the rows of ours: what our windows and batches are compared with."""

import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_forecasting import TimeSeriesDataSet
from pytorch_forecasting.data.encoders import NaNLabelEncoder, TorchNormalizer

from midas_ray.forecast.batches import KNOWN_AHEAD, RELATIVE_TIME, WindowSet, encoder_reals

STOCK_RELATIVE_TIME = "relative_time_idx"


def stock_frame(windows: WindowSet) -> pd.DataFrame:
    """Scaled rows of the symbols, each with its bucket number; `target` is the return of the bucket, in percent."""
    names = windows.normalizer.row_inputs
    frame = pd.DataFrame({name: windows.inputs[:, at] for at, name in enumerate(names)})
    frame["symbol"] = np.array(windows.normalizer.symbols)[windows.symbol]
    frame["bucket"] = (windows.ts_us - windows.ts_us.min()) // windows.bucket_us
    moved = np.diff(windows.log_reference, prepend=windows.log_reference[:1]) / 100
    frame["target"] = np.where(frame["bucket"] == 0, 0.0, moved).astype(np.float32)
    return frame


def stock_data_set(windows: WindowSet) -> TimeSeriesDataSet:
    """Windows of the same length and horizon over the same rows; scaling is ours."""
    normalizer = windows.normalizer
    assert not normalizer.price_columns, "price columns are relative to the origin: no column of a table can hold them"
    known = [name for name in KNOWN_AHEAD if name in normalizer.row_inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TimeSeriesDataSet(
            stock_frame(windows),
            time_idx="bucket",
            target="target",
            group_ids=["symbol"],
            static_categoricals=["symbol"],
            categorical_encoders={"symbol": NaNLabelEncoder().fit(pd.Series(list(normalizer.symbols)))},
            min_encoder_length=normalizer.input_length,
            max_encoder_length=normalizer.input_length,
            min_prediction_length=normalizer.output_length,
            max_prediction_length=normalizer.output_length,
            time_varying_known_reals=known,
            time_varying_unknown_reals=[name for name in normalizer.row_inputs if name not in known],
            scalers=dict.fromkeys(normalizer.row_inputs),
            target_normalizer=TorchNormalizer(method="identity"),
            add_relative_time_idx=True,
        )


def in_our_order(windows: WindowSet, stock: TimeSeriesDataSet, values: torch.Tensor) -> torch.Tensor:
    """The stock's real inputs, (B, T, R), in the order of ours."""
    names = [STOCK_RELATIVE_TIME if name == RELATIVE_TIME else name for name in encoder_reals(windows.normalizer)]
    return values[..., [stock.reals.index(name) for name in names]]


def origins_of(windows: WindowSet, x: dict[str, torch.Tensor]) -> np.ndarray:
    """Rows of our panel at which the stock's windows have their origin."""
    bucket = (windows.ts_us - windows.ts_us.min()) // windows.bucket_us
    rows = {
        (int(symbol), int(number)): row for row, (symbol, number) in enumerate(zip(windows.symbol, bucket, strict=True))
    }
    firsts = zip(x["encoder_cat"][:, 0, 0].tolist(), x["decoder_time_idx"][:, 0].tolist(), strict=True)
    return np.array([rows[symbol, first - 1] for symbol, first in firsts])
