"""Ray Train's trainer, but for what it asks of the autoscaler."""

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy


class QuietTrainer(TorchTrainer):
    """Asks the autoscaler for the workers' placement group, and for nothing beside it.

    Ray Train would also ask for a GPU a worker: two nodes of one GPU fulfil that where one of two is needed, and are
    rented; and that holds for 3 minutes after the command is gone. An elastic group of workers needs it.
    """

    def _initialize_and_run_controller(self, **controller: Any) -> Any:
        if isinstance(controller["scaling_policy"], FixedScalingPolicy):
            controller["scaling_policy"] = _QuietScalingPolicy(self.scaling_config)
        return super()._initialize_and_run_controller(**controller)


class _QuietScalingPolicy(FixedScalingPolicy):
    def _send_resource_request(self) -> None:
        """Not beside the placement group."""

    def _maybe_send_resource_request(self) -> None:
        """Neither."""

    def _cancel_resource_request(self) -> None:
        """There is none."""
