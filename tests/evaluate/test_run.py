"""`midas backtest` from feature files to the three output files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from midas_ray import cli
from midas_ray.errors import MidasError, TooFewRowsError, UsageError
from midas_ray.evaluate.folds import plan_folds
from midas_ray.evaluate.provenance import command_line
from midas_ray.evaluate.run import backtest
from midas_ray.evaluate.walk_forward import run_folds
from midas_ray.settings import Backtest, GpuSettings, NetworkSettings
from midas_ray.storage import Storage
from tests.dataset.synthetic import write_features
from tests.evaluate.markets import fit_linear, signal_panel


@pytest.fixture
def data_dir(tmp_path: Path) -> str:
    """1500 minutes of a market with a strong signal."""
    folder = tmp_path / "data"
    write_features(Storage(str(folder)), signal_panel(1500, strength_bps=4.0))
    return str(folder)


def _settings(data_dir: str, **values: object) -> Backtest:
    small: dict[str, object] = {
        "input_length": 10, "output_length": 10, "fee_bps": 1.0, "gpus": 0, "quantiles": (0.1, 0.5, 0.9), "seeds": 1,
        "forecasters": ("tft", "trailing", "ewma"),
    }  # fmt: skip
    return Backtest(data_dir=data_dir, **(small | values))


def _refuse_constants(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


@pytest.mark.usefixtures("ray_local")
def test_walk_forward_writes_page_metrics_and_fills(data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(_settings(data_dir), fit=fit_linear) == 0
    reports = Path(data_dir) / "reports"
    assert sorted(path.name for path in reports.iterdir()) == [
        "backtest_results.csv", "backtest_results.html", "backtest_results.json",
    ]  # fmt: skip
    shown = capsys.readouterr()
    assert "the TFT beats both baselines" in shown.out
    assert all(f"fold {number} tft done" in shown.err for number in (1, 2, 3))

    found = json.loads((reports / "backtest_results.json").read_text(), parse_constant=_refuse_constants)
    assert found["verdict"]["beats"] == {"trailing": True, "ewma": True}
    assert len(found["folds"]) == 3
    assert found["trading"]["performance"]["sharpe"] is None
    assert found["final_period"]["opened_now"] is False

    fills = pl.read_csv(reports / "backtest_results.csv", try_parse_dates=True)
    entries, exits = fills.filter(action="entry"), fills.filter(action="exit")
    assert len(entries) == len(exits) == found["trading"]["round_trips"] > 30
    assert (exits["ts"].to_numpy() - entries["ts"].to_numpy() == np.timedelta64(9, "m")).all()
    assert (entries["ts"].to_numpy() - entries["decision_ts"].to_numpy() == np.timedelta64(1, "m")).all()
    mean = found["trading"]["net_bps_per_round_trip"]["value"]
    assert np.average(exits["net_bps"], weights=exits["size"]) == pytest.approx(mean)
    assert entries["net_bps"].null_count() == len(entries)

    page = (reports / "backtest_results.html").read_text()
    for phrase in ("the TFT beats both baselines", "ofi_cumulative", "Final period"):
        assert phrase.lower() in page.lower()


@pytest.mark.usefixtures("ray_local")
def test_output_beside_a_chosen_page_and_a_dataset_without_a_book(tmp_path: Path) -> None:
    panel = signal_panel(1200, strength_bps=4.0)
    closes = panel.values.copy()
    position = panel.feature_names.index
    closes[:, position("close")] = closes[:, position("midprice")]
    kinds = panel.kinds.copy()
    for name in ("midprice", "spread"):
        closes[:, position(name)] = np.nan
        kinds[:, position(name)] = 1
    data_dir = tmp_path / "bars"
    write_features(Storage(str(data_dir)), replace(panel, values=closes, kinds=kinds, price_source="close"))
    assert backtest(_settings(str(data_dir), output=str(tmp_path / "out" / "mine.html")), fit=fit_linear) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mine.csv", "mine.html", "mine.json"]
    page = (tmp_path / "out" / "mine.html").read_text()
    assert "the data hold bars and no book" in page
    assert not (data_dir / "reports").exists()


@pytest.mark.usefixtures("ray_local")
def test_a_fold_that_fails_is_one_line_and_writes_nothing(data_dir: str, caplog: pytest.LogCaptureFixture) -> None:
    def fit_fails(*_: object, **__: object) -> None:
        raise TooFewRowsError("too few rows: expected windows in the training part, found none")

    with pytest.raises(TooFewRowsError) as caught:
        backtest(_settings(data_dir), fit=fit_fails)
    assert str(caught.value) == "too few rows: expected windows in the training part, found none"
    assert not (Path(data_dir) / "reports").exists()
    assert "Unhandled error" not in caplog.text


@pytest.mark.usefixtures("ray_local")
def test_a_worker_that_dies_is_one_line() -> None:
    def fit_dies(*arguments: Any, **_: object) -> None:
        import os

        work_dir: Path = arguments[4]
        work_dir.rmdir()
        os._exit(1)

    panel = signal_panel(400, strength_bps=1.0)
    plans = plan_folds(panel, 10, 5, 3)[:1]
    with pytest.raises(MidasError, match=r"^fold 1: expected its worker to finish, found it lost"):
        run_folds(
            panel,
            plans,
            NetworkSettings(),
            ("tft",),
            1,
            gpus=0,
            settings=GpuSettings(),
            done=lambda *_: None,
            fit=fit_dies,
        )


@pytest.mark.usefixtures("ray_local")
def test_more_gpus_than_there_are(data_dir: str) -> None:
    with pytest.raises(UsageError, match="--gpus 3: expected at most the GPUs that Ray has, found 0"):
        backtest(_settings(data_dir, gpus=3), fit=fit_linear)


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, expect a failure of one line, and give the line."""
    assert cli.main(["backtest", *arguments]) != 0
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_bad_input_is_one_line_and_leaves_nothing(
    data_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "empty"
    assert "run midas features first" in _refused(capsys, "--data-dir", str(nowhere))
    assert not nowhere.exists()
    assert "expected at least 1760 windows" in _refused(
        capsys, "--data-dir", data_dir, "--output-length", "40", "--folds", "3", "--input-length", "480"
    )
    assert "--folds" in _refused(capsys, "--data-dir", data_dir, "--folds", "2")
    assert "ends in .html" in _refused(capsys, "--data-dir", data_dir, "--output", "report.pdf")
    blocked = tmp_path / "file"
    blocked.write_text("")
    line = _refused(capsys, "--data-dir", data_dir, "--output", str(blocked / "report.html"))
    assert "expected a writable folder for the report, found a file" in line
    (tmp_path / "page.html").mkdir()
    assert "found a folder" in _refused(capsys, "--data-dir", data_dir, "--output", str(tmp_path / "page.html"))
    assert not (Path(data_dir) / "reports").exists()


def test_a_missing_or_damaged_model_is_one_line(
    data_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _refused(capsys, "--data-dir", data_dir, "--model", str(tmp_path / "nothing"))
    assert "expected a model folder with best_model.pt" in line
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "best_model.pt").write_bytes(b"not a model")
    assert "not a readable model" in _refused(capsys, "--data-dir", data_dir, "--model", str(tmp_path / "bad"))
    assert not (Path(data_dir) / "reports").exists()


@pytest.mark.usefixtures("ray_local")
def test_the_final_period_is_opened_once_and_that_is_recorded(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Path(data_dir) / ".midas" / "final_period.json"
    assert backtest(_settings(data_dir, final_share=0.2), fit=fit_linear) == 0
    assert not record.exists()
    assert backtest(_settings(data_dir, final_share=0.2, open_final=True), fit=fit_linear) == 0
    (opened,) = json.loads(record.read_text())
    assert opened["again"] is False
    found = json.loads((Path(data_dir) / "reports" / "backtest_results.json").read_text())
    assert opened["data_digest"] == found["data"]["digest"]
    assert opened["pooled_skill"]["ewma"] == pytest.approx(found["scores"]["skill"]["ewma"]["pooled"]["value"])
    test = found["folds"][0]["test"]
    assert (len(found["folds"]), test["first_us"]) == (1, opened["first_us"])
    with pytest.raises(UsageError, match=r"--open-final: the data up to .* were opened on 20.* a final period is"):
        backtest(_settings(data_dir, final_share=0.2, open_final=True), fit=fit_linear)
    assert backtest(_settings(data_dir, final_share=0.2, open_final_again=True), fit=fit_linear) == 0
    assert [entry["again"] for entry in json.loads(record.read_text())] == [False, True]
    capsys.readouterr()


@pytest.mark.usefixtures("ray_local")
def test_without_a_final_period_it_counts_as_looked_at(data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(_settings(data_dir, final_share=0.0), fit=fit_linear) == 0
    (looked,) = json.loads((Path(data_dir) / ".midas" / "final_period.json").read_text())
    assert looked["again"] is False
    with pytest.raises(UsageError, match="were opened on"):
        backtest(_settings(data_dir, open_final=True), fit=fit_linear)
    capsys.readouterr()


@pytest.mark.usefixtures("ray_local")
def test_combinatorial_cross_validation_gives_every_path(tmp_path: Path) -> None:
    """A short lookback, so that groups are longer than the embargo."""
    folder = tmp_path / "data"
    write_features(Storage(str(folder)), signal_panel(16_000, strength_bps=4.0))
    values = _settings(
        str(folder), cross_validation="combinatorial", groups=4, test_groups=2, final_share=0.0,
        forecasters=("har", "ewma"),
    )  # fmt: skip
    assert backtest(values) == 0
    found = json.loads((folder / "reports" / "backtest_results.json").read_text())
    assert len(found["folds"]) == 6
    assert len(found["scores_by_path"]) == 3
    windows = {path["windows"] for path in found["scores_by_path"]}
    assert windows == {found["scores"]["windows"]}


def test_the_command_in_a_report_holds_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "/x/midas",
        "backtest",
        "--data-dir",
        "s3://KEY:SE=CRET@bucket/p?x=y",
        "--data-dir=s3://KEY:SECRET@b",
        "--folds=4",
    ]
    monkeypatch.setattr("sys.argv", words)
    assert command_line() == "midas backtest --data-dir s3://bucket/p --data-dir=s3://b --folds=4"
