"""A running training as metrics of Ray: its dashboard, Prometheus and Grafana show them as `ray_midas_<name>`."""

from typing import Any

from midas_ray.capture.metrics import NO_VALUE, PREFIX
from midas_ray.forecast.training_progress import TrainingProgress

GAUGES: dict[str, str] = {
    "train_loss": "mean pinball loss of the epoch so far, scaled units",
    "val_loss": "mean pinball loss on the validation part, scaled units",
    "val_loss_bps": "mean pinball loss on the validation part, bps of the price",
    "epoch": "epoch, from 1",
    "windows_per_s": "training windows a second, all workers together",
}


def levels(progress: TrainingProgress) -> dict[str, float]:
    """What to set each gauge to; a validation loss stays until the next one."""
    found = {
        "train_loss": progress.train_loss,
        "epoch": float(progress.epoch),
        "windows_per_s": progress.windows_per_s,
    }
    if progress.validation_loss is not None:
        found["val_loss"] = progress.validation_loss
    if progress.validation_bps is not None:
        found["val_loss_bps"] = progress.validation_bps
    return found


class TrainingMetrics:
    """The gauges of one training. Make it inside a Ray worker, where `ray.util.metrics` has its agent."""

    def __init__(self, run_id: str) -> None:
        from ray.util.metrics import Gauge

        self._tags = {"run": run_id}
        self._gauges: dict[str, Any] = {
            name: Gauge(f"{PREFIX}{name}", description=text, tag_keys=("run",)) for name, text in GAUGES.items()
        }

    def export(self, progress: TrainingProgress) -> None:
        for name, value in levels(progress).items():
            self._gauges[name].set(value, tags=self._tags)

    def forget(self) -> None:
        """A training that has ended has no gauges: the last ones would be shown for ever."""
        for gauge in self._gauges.values():
            gauge.set(NO_VALUE, tags=self._tags)
