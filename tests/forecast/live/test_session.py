"""Live forecasts equal batch predictions of the same windows, through revisions, restarts and new models."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from midas_ray.dataset.panel import Panel
from midas_ray.errors import DataError, UsageError
from midas_ray.features.nulls import NullKind
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.forecast.live.models import ModelInUse
from midas_ray.forecast.live.record import ForecastLine, ScoreLine
from midas_ray.forecast.live.session import ForecastSession
from midas_ray.forecast.model_folder import LATEST, PROMOTED, point
from midas_ray.forecast.scores import pinball_loss_bps
from midas_ray.storage import Storage
from tests.dataset.synthetic import rebuilt, synthetic_panel, with_nulls, write_features
from tests.forecast.live.models import publication, saved, untrained
from tests.forecast.planted import HORIZON, LENGTH

PANEL = synthetic_panel(400, ("btcusdt", "ethusdt"))
HISTORY, LIVE = 380, 20


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    return untrained(PANEL)


class Bench:
    """A data folder with history, a model folder, and what the session said."""

    def __init__(self, root: Path, forecaster: Forecaster, panel: Panel = PANEL) -> None:
        self.storage = Storage(str(root / "data"))
        self.model_dir = root / "models"
        saved(forecaster, self.model_dir / "one")
        point(self.model_dir, LATEST, "one")
        self.said: list[str] = []
        early = np.concatenate([np.arange(HISTORY) + 400 * k for k in range(len(panel.symbols))])
        write_features(self.storage, _rows(panel, early))

    def session(self, named: Path | None = None) -> ForecastSession:
        now_ns = int(PANEL.ts_us[HISTORY]) * 1000
        return ForecastSession(
            self.storage, PANEL.venue, list(PANEL.symbols), ModelInUse(self.model_dir, named), self.said.append,
            clock_ns=lambda: now_ns,
        )  # fmt: skip

    def lines(self, kind: type[ForecastLine] | type[ScoreLine]) -> Iterator[object]:
        for path in sorted((Path(self.storage.root) / "forecasts").rglob("*.jsonl")):
            if path.name.endswith("-scores.jsonl") == (kind is ScoreLine):
                for line in path.read_bytes().splitlines():
                    yield msgspec.json.decode(line, type=kind)


def _rows(panel: Panel, rows: np.ndarray) -> Panel:
    from tests.dataset.synthetic import take

    return take(panel, rows)


def feed(session: ForecastSession, panel: Panel, first: int = HISTORY, last: int = 400) -> list[ForecastLine]:
    """Both symbols' buckets one after the other."""
    made = []
    for row in range(first, last):
        made += session.take([publication(panel, row), publication(panel, row + 400)])
    return made


def batch(forecaster: Forecaster, panel: Panel, lines: list[ForecastLine]) -> np.ndarray:
    rows = [
        np.flatnonzero((panel.ts_us == line.ts_us) & (panel.symbol_index == panel.symbols.index(line.symbol)))[0]
        for line in lines
    ]
    return forecaster.predict(panel, np.array(rows), "cpu")


def test_forecasts_equal_batch_predictions(tmp_path: Path, forecaster: Forecaster) -> None:
    bench = Bench(tmp_path, forecaster)
    lines = feed(bench.session(), PANEL)
    assert len(lines) == 2 * LIVE
    assert bench.said == []
    found = np.array([line.value_bps for line in lines])
    np.testing.assert_allclose(found, batch(forecaster, PANEL, lines), atol=1e-5)
    prices = np.array([line.price for line in lines])
    reference = np.array([line.reference_price for line in lines])
    np.testing.assert_allclose(prices, reference[:, None, None] * np.exp(found / 1e4))
    assert list(bench.lines(ForecastLine)) == sorted(lines, key=lambda line: (line.symbol, line.ts_us))


def test_a_revised_bucket_makes_the_newest_forecast_anew(tmp_path: Path, forecaster: Forecaster) -> None:
    bench = Bench(tmp_path, forecaster)
    session = bench.session()
    feed(session, PANEL, last=HISTORY + 5)
    values = PANEL.values.copy()
    values[HISTORY + 3] *= 1.01
    changed = rebuilt(PANEL, values)
    (line,) = session.take([publication(changed, HISTORY + 3, revision=2)])
    assert (line.revision, line.ts_us, line.symbol) == (2, int(PANEL.ts_us[HISTORY + 4]), "btcusdt")
    np.testing.assert_allclose(np.array(line.value_bps), batch(forecaster, changed, [line])[0], atol=1e-5)
    assert session.take([publication(changed, HISTORY + 3, revision=3)]) == []  # the same once more


def test_scores_come_with_the_future_and_only_once(tmp_path: Path, forecaster: Forecaster) -> None:
    bench = Bench(tmp_path, forecaster)
    lines = {(line.symbol, line.ts_us): line for line in feed(bench.session(), PANEL)}
    scores = list(bench.lines(ScoreLine))
    assert len(scores) == 2 * (LIVE - HORIZON)
    for each in scores:
        assert isinstance(each, ScoreLine)
        line = lines[each.symbol, each.ts_us]
        row = int(np.flatnonzero((PANEL.ts_us == each.ts_us) & (PANEL.symbol_index == (each.symbol == "ethusdt")))[0])
        actual = 1e4 * np.log(PANEL.price[row + 1 : row + 1 + HORIZON] / PANEL.price[row])
        np.testing.assert_allclose(each.actual_bps, actual)
        loss = pinball_loss_bps(actual[None], np.array(line.value_bps)[None], np.array(line.quantiles))
        np.testing.assert_allclose(each.pinball_bps, loss[0].mean(axis=1))
        assert each.trailing_pinball_bps is not None


def test_a_restart_repeats_nothing_and_scores_what_waited(tmp_path: Path, forecaster: Forecaster) -> None:
    bench = Bench(tmp_path, forecaster)
    feed(bench.session(), PANEL, last=HISTORY + 7)
    (path,) = (
        p for p in Path(bench.storage.root).rglob("*.jsonl") if "symbol=btcusdt" in str(p) and "scores" not in p.name
    )
    with path.open("ab") as stream:
        stream.write(b'{"ts":"torn')
    again = bench.session()
    # What live features have on their record is read at a start; here nobody made any.
    again.histories.add(publication(PANEL, row + 400 * k) for row in range(HISTORY, HISTORY + 6) for k in (0, 1))
    assert feed(again, PANEL, first=HISTORY + 6, last=HISTORY + 7) == []
    feed(again, PANEL, first=HISTORY + 7)
    lines = list(bench.lines(ForecastLine))
    assert len({(line.symbol, line.ts_us) for line in lines}) == len(lines) == 2 * LIVE  # type: ignore[attr-defined]
    assert len(list(bench.lines(ScoreLine))) == 2 * (LIVE - HORIZON)


def test_a_promoted_model_takes_over_and_a_broken_one_does_not(tmp_path: Path, forecaster: Forecaster) -> None:
    bench = Bench(tmp_path, forecaster)
    session = bench.session()
    feed(session, PANEL, last=HISTORY + 3)
    (bench.model_dir / "broken").mkdir()
    (bench.model_dir / "broken" / "best_model.pt").write_bytes(b"nothing")
    point(bench.model_dir, PROMOTED, "broken")
    session.renew()
    assert "broken is not taken up, one goes on: " in bench.said[-1]
    other = untrained(PANEL, seed=1)
    saved(other, bench.model_dir / "two")
    point(bench.model_dir, PROMOTED, "two")
    session._renewed_s = 0.0
    session.renew()
    assert bench.said[-1] == "two has taken over from one"
    lines = feed(session, PANEL, first=HISTORY + 3, last=HISTORY + 5)
    assert {line.model for line in lines} == {"two"}
    np.testing.assert_allclose(np.array([x.value_bps for x in lines]), batch(other, PANEL, lines), atol=1e-5)


def test_a_gap_gives_no_forecast_and_says_why(tmp_path: Path, forecaster: Forecaster) -> None:
    bench = Bench(tmp_path, forecaster)
    session = bench.session()
    gap = with_nulls(PANEL, "ofi", np.array([HISTORY + 2]), NullKind.GAP)
    lines = feed(session, gap, last=HISTORY + 2 + LENGTH + 1)
    silent = [line for line in lines if line.symbol == "btcusdt"]
    assert [line.ts_us for line in silent] == [int(PANEL.ts_us[row]) for row in (HISTORY, HISTORY + 1, HISTORY + 8)]
    assert len([line for line in lines if line.symbol == "ethusdt"]) == LENGTH + 3
    assert bench.said == ["2026-01-05T06:23:00Z btcusdt: no forecast, ofi is null by a gap in this bucket"]


def test_a_hole_in_the_history_is_said_and_filled_from_a_newer_feature_table(
    tmp_path: Path, forecaster: Forecaster
) -> None:
    bench = Bench(tmp_path, forecaster)
    session = bench.session()
    feed(session, PANEL, first=HISTORY + 3, last=HISTORY + 12)
    session.look_back()
    assert "btcusdt: 3 buckets up to 2026-01-05T06:23:00Z are missing in the history" in bench.said[-2]
    lines = feed(session, PANEL, first=HISTORY + 12, last=HISTORY + 13)
    off = np.array([line.value_bps for line in lines]) - batch(forecaster, PANEL, lines)
    assert np.abs(off).max() > 1e-4
    early = np.concatenate([np.arange(HISTORY + 5) + 400 * k for k in (0, 1)])
    write_features(bench.storage, _rows(PANEL, early))
    session._looked_back_s = 0.0
    session.look_back()
    assert bench.said[-1] == "ethusdt: no bucket is missing in the history any more: forecasts equal those of batch"
    lines = feed(session, PANEL, first=HISTORY + 13)
    found = np.array([line.value_bps for line in lines])
    np.testing.assert_allclose(found, batch(forecaster, PANEL, lines), atol=1e-5)


def test_missing_buckets_give_no_forecast(tmp_path: Path, forecaster: Forecaster) -> None:
    bench = Bench(tmp_path, forecaster)
    session = bench.session()
    assert session.take([publication(PANEL, HISTORY + 2)]) == []
    assert bench.said[-1].endswith("no forecast, too few buckets in a row: 1 of 6")


def test_what_does_not_fit_the_model(tmp_path: Path, forecaster: Forecaster) -> None:
    bench = Bench(tmp_path, forecaster)
    with pytest.raises(
        DataError, match="expected one of its symbols, btcusdt, ethusdt, to be collected, found dogeusdt"
    ):
        ForecastSession(bench.storage, PANEL.venue, ["dogeusdt"], ModelInUse(bench.model_dir, None), bench.said.append)
    with pytest.raises(UsageError, match="expected a trained model, found none"):
        ModelInUse(tmp_path / "nothing", None)
