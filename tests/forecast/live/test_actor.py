from pathlib import Path

import pytest

from midas_ray import cli
from midas_ray.forecast.live.actor import ForecasterActor
from midas_ray.forecast.model_folder import LATEST, point
from midas_ray.settings import Forecast
from tests.dataset.synthetic import synthetic_panel
from tests.forecast.live.models import saved, untrained


def actor(tmp_path: Path) -> ForecasterActor:
    values = Forecast(data_dir=str(tmp_path / "data"), model_dir=str(tmp_path / "models"))
    return ForecasterActor(values.model_dump())


def test_an_actor_that_cannot_begin_says_why_instead_of_dying(tmp_path: Path) -> None:
    without = actor(tmp_path)
    assert "expected a trained model, found none" in (without.failure() or "")
    assert without.stop().startswith("failed: --model-dir")
    saved(untrained(synthetic_panel(400)), tmp_path / "models" / "one")
    point(tmp_path / "models", LATEST, "one")
    assert "no raw journals of binance-futures" in (actor(tmp_path).failure() or "")


@pytest.mark.parametrize("flag", ["--detach", "--stop"])
def test_without_a_head_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert cli.main(["forecast", flag, "--data-dir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "expected the head node of --data-dir" in told
    assert told.count("\n") == 1
