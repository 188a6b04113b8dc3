import json
from pathlib import Path

import pytest
import yaml

from midas_ray import cli
from midas_ray.dataset.panel import Panel
from midas_ray.storage import Storage
from tests.dataset.synthetic import synthetic_panel, write_features
from tests.forecast.live.models import saved, split_of, untrained

PANEL = synthetic_panel(1200)
Capsys = pytest.CaptureFixture[str]


def early(panel: Panel) -> Panel:
    from tests.dataset.synthetic import take

    return take(panel, range(500))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two whole models that have seen the first 500 of 1200 minutes, and the features."""
    write_features(Storage(str(tmp_path / "data")), PANEL)
    for seed, run in enumerate(("tft-1", "tft-2")):
        model = saved(untrained(early(PANEL), seed), tmp_path / "models" / run)
        test = {"coverage": 0.81, "mean_pinball_bps": {"model": 1.5 + seed}, "skill": 0.02}
        (model / "metrics.json").write_text(json.dumps({"test": test, "fit_end": "2026-01-05T06:00:00Z"}))
        (model / "features.json").write_text(json.dumps({"time_bucket_ms": 60000}))
        config = {"venue": "binance-futures", "symbols": ["btcusdt"], "lineage": {"data_digest": f"{seed}abcdef012"}}
        (model / "config.yaml").write_text(yaml.safe_dump(config))
    assert len(split_of(early(PANEL)).calibration) > 20
    return tmp_path


def models(folder: Path, *arguments: str) -> int:
    return cli.main(["models", *arguments, "--model-dir", str(folder / "models"), "--data-dir", str(folder / "data")])


def listed(folder: Path, capsys: Capsys) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert models(folder, "list", "--json") == 0
    return {entry["run"]: entry for entry in json.loads(capsys.readouterr().out)}


def test_list_promote_and_their_history(folder: Path, capsys: Capsys) -> None:
    assert listed(folder, capsys)["tft-2"]["test_loss_bps"] == 2.5
    assert models(folder, "promote", "tft-1") == 0
    assert models(folder, "promote", "tft-2") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("promoted tft-2 in the place of tft-1")
    found = listed(folder, capsys)
    assert (found["tft-1"]["marks"], found["tft-2"]["marks"]) == ([], ["promoted"])
    history = [json.loads(line) for line in (folder / "models" / "promotions.jsonl").read_text().splitlines()]
    assert [(line["run"], line["before"]) for line in history] == [("tft-1", None), ("tft-2", "tft-1")]
    assert models(folder, "list") == 0
    shown = capsys.readouterr().out
    assert "tft-2 *promoted" in shown
    assert "1abcdef0" in shown


def test_compare_is_paired_and_on_unseen_rows(folder: Path, capsys: Capsys) -> None:
    assert models(folder, "compare", "tft-1", "tft-2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    # After the training of the first 500 minutes, calibration included, and before the final tenth.
    assert 500 < found["windows"] < 760
    value, lower, upper = found["skill_of_first"]
    assert lower < value < upper
    loss = found["loss_bps"]
    assert value == pytest.approx(1 - loss["tft-1"] / loss["tft-2"], abs=1e-6)
    assert models(folder, "compare", "tft-1", "tft-2") == 0
    assert "tft-1 over tft-2: skill " in capsys.readouterr().out


def test_a_comparison_on_everything_counts_as_having_looked(folder: Path, capsys: Capsys) -> None:
    record = folder / "data" / ".midas" / "final_period.json"
    assert models(folder, "compare", "tft-1", "tft-2") == 0
    assert not record.exists()
    assert models(folder, "compare", "tft-1", "tft-2", "--final-share", "0", "--json") == 0
    (looked,) = json.loads(record.read_text())
    found = json.loads(capsys.readouterr().out.partition("windows after both training ends\n")[2])
    assert looked["pooled_skill"] == {"tft-2": pytest.approx(found["skill_of_first"][0])}
    assert looked["last_us"] > looked["first_us"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote",), "expected 1 run, found 0"),
        (("compare", "tft-1"), "expected 2 runs, found 1"),
        (("compare", "tft-1", "tft-1"), "expected two runs, found tft-1 twice"),
        (("promote", "tft-9"), "tft-9: expected a run under --model-dir"),
    ],
)
def test_bad_requests_are_one_line(folder: Path, capsys: Capsys, arguments: tuple[str, ...], message: str) -> None:
    assert models(folder, *arguments) != 0
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_damaged_model_is_named_and_not_promoted(folder: Path, capsys: Capsys) -> None:
    (folder / "models" / "tft-1" / "metrics.json").write_text("{")
    assert models(folder, "list") != 0
    assert "tft-1: expected a whole model folder, found it damaged" in capsys.readouterr().err
    (folder / "models" / "tft-2" / "best_model.pt").write_bytes(b"x")
    assert models(folder, "promote", "tft-2") != 0
    assert "not a readable model" in capsys.readouterr().err
    assert not (folder / "models" / "promoted").exists()
