"""The whole path over real sshd against the fake Vast.ai: see `whole_path`."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from midas_ray.cloud.fleet import LISTING_S
from tests.cluster import whole_path


def test_a_training_rents_a_node_brings_its_model_home_and_gives_the_node_back(outer: Callable[..., Any]) -> None:
    result = outer(whole_path.train_on_a_rented_node, timeout_s=900)
    assert result["up"] == 0, result["up_said"]
    assert result["before"] == 0
    assert result["job"] == 0, result["said"]
    assert "waiting for a GPU node" in result["said"]
    assert {"best_model.pt", "metrics.json", "predictions.parquet"} <= set(result["models"])
    assert result["head_open"] == []
    assert result["rights"] == ["600", "600"]
    assert (result["down"], result["live"], result["ever"]) == (0, 0, 1)
    assert result["raylets"] == "0"
    assert not result["key_said"]
    assert len(result["listings"]) > 3
    assert min(later - earlier for earlier, later in pairwise(result["listings"])) > LISTING_S - 1
