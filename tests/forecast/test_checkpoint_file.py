"""A checkpoint from a machine that nobody trusts: data are read, code is refused and not run."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from midas_ray.errors import CorruptFileError
from midas_ray.forecast.checkpoint_file import read_checkpoint, weights_of

STORED: dict[str, Any] = {
    "epoch": 3,
    "state_dict": OrderedDict({"network.a": torch.ones(2), "loss.b": torch.zeros(1)}),
    "callbacks": {"StopWhereNoBetter": {"wait_count": 1, "best_score": torch.tensor(0.5, dtype=torch.float64)}},
    "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.01, "params": [0]}]}],
}


class Hostile:
    """Runs a command where it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self._ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._ran),)


def test_what_a_training_keeps_is_read(tmp_path: Path) -> None:
    torch.save(STORED, tmp_path / "checkpoint.ckpt")
    stored = read_checkpoint(tmp_path / "checkpoint.ckpt")
    assert stored["epoch"] == 3
    assert stored["callbacks"] == STORED["callbacks"]
    weights = weights_of(stored)
    assert list(weights) == ["a"]
    assert torch.equal(weights["a"], torch.ones(2))


@pytest.mark.parametrize("place", ["state_dict", "callbacks", "hyper_parameters"])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_in_one_line_and_not_run(tmp_path: Path, place: str, zipped: bool) -> None:
    ran, path = tmp_path / "ran", tmp_path / "checkpoint.ckpt"
    torch.save(STORED | {place: {"x": Hostile(ran)}}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CorruptFileError) as caught:
        read_checkpoint(path)
    assert not ran.exists()
    assert str(caught.value) == (
        "checkpoint.ckpt: expected a checkpoint of tensors and plain values, found the code posix.mkdir in it; nothing "
        "of it was run: train anew, on another machine if a rented one wrote it"
    )
    torch.load(path, weights_only=False)
    assert ran.exists()  # it is what it is taken for


@pytest.mark.parametrize(
    "content",
    [b"", b"no checkpoint", {"epoch": 1}, {"epoch": "1", "state_dict": {}}, {"epoch": 1, "state_dict": {"a": 1}}, [1]],
)
def test_what_is_none_is_refused_in_one_line(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "checkpoint.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CorruptFileError, match="expected a checkpoint of tensors and plain values, found") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_one_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.ckpt"
    torch.save(STORED, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptFileError):
        read_checkpoint(path)
