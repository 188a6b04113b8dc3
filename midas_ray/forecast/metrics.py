"""A running training as metrics of Ray: its dashboard, Prometheus and Grafana show them as `ray_midas_<name>`."""

from midas_ray.forecast.training_progress import TrainingProgress
from midas_ray.metrics import Metrics

_RUN = ("run",)
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "train_loss": ("mean pinball loss of the epoch so far, scaled units", _RUN),
    "val_loss": ("mean pinball loss on the validation part, scaled units", _RUN),
    "val_loss_bps": ("mean pinball loss on the validation part, bps of the price", _RUN),
    "epoch": ("epoch, from 1", _RUN),
    "epochs": ("most epochs", _RUN),
    "epoch_share": ("share of the epoch's batches that are done, 0 to 1", _RUN),
    "windows_per_s": ("training windows a second, all workers together", _RUN),
    "train_workers": ("workers of the training, by the device they compute on", ("run", "device")),
}


def levels(progress: TrainingProgress) -> dict[str, float]:
    """What to set each gauge to; a validation loss stays until the next one."""
    found = {
        "train_loss": progress.train_loss,
        "epoch": float(progress.epoch),
        "epochs": float(progress.epochs),
        "epoch_share": progress.batch / progress.batches,
        "windows_per_s": progress.windows_per_s,
    }
    if progress.validation_loss is not None:
        found["val_loss"] = progress.validation_loss
    if progress.validation_bps is not None:
        found["val_loss_bps"] = progress.validation_bps
    return found


class TrainingMetrics:
    """The gauges of one training, served until its worker has ended. Make it inside that worker."""

    def __init__(self, run_id: str, workers: int, device: str) -> None:
        self._run_id, self._workers, self._device = run_id, workers, device
        self._metrics = Metrics(GAUGES)

    def export(self, progress: TrainingProgress) -> None:
        for name, value in levels(progress).items():
            self._metrics.set(name, value, self._run_id)
        self._metrics.set("train_workers", self._workers, self._run_id, self._device)
