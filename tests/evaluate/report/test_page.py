"""The whole page: its sections, its numbers, its safety, its size."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from midas_ray.dataset.final_period import FinalPeriod
from midas_ray.evaluate.metrics import metrics
from midas_ray.evaluate.outcome import FinalState, Outcome
from midas_ray.evaluate.report.page import render
from tests.dataset.synthetic import BUCKET_US, START_US
from tests.evaluate.markets import price_panel, random_walk
from tests.evaluate.outcomes import outcome_of

SECTIONS = [
    "Skill against the baselines",
    "Calibration",
    "Forecasts and what came",
    "Does it hold: folds and seeds",
    "What the model looks at",
    "Trading on the forecast, after costs",
    "The final period",
    "Data used",
    "How it was judged",
    "Settings, versions, and how to do it again",
]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return outcome_of(drift_bps=8.0)


@pytest.fixture(scope="module")
def page(outcome: Outcome) -> str:
    return render(outcome)


def _text(html: str) -> str:
    """What a reader without JavaScript sees."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    text = unescape(re.sub(r"<[^>]+>", " ", body))
    return re.sub(r"\s+", " ", text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " "))


def test_the_verdict_comes_first_and_every_section_is_there(page: str) -> None:
    assert re.findall(r'<h2 id="[^"]+">([^<]+)</h2>', page) == SECTIONS
    text = _text(page)
    assert text.index("On only") < text.index("Skill over trailing") < text.index(SECTIONS[0])


def test_every_chart_has_a_sentence_a_caption_axes_with_units_and_data(page: str) -> None:
    figures = re.findall(r"<figure>(.*?)</figure>", page, re.DOTALL)
    assert len(figures) == 15
    for figure in figures:
        (title,) = re.findall(r"<h3>(.*?)</h3>", figure)
        assert re.search(r"\d", title), title
        assert re.search(r"<figcaption>.{20,}</figcaption>", figure)
        (data,) = re.findall(r"<script type=\"application/json\"[^>]*>(.*?)</script>", figure, re.DOTALL)
        drawn = json.loads(data)
        assert drawn["data"]
        assert drawn["layout"]["xaxis"].get("title") or drawn["layout"]["yaxis"].get("title")


def test_nothing_is_fetched(page: str) -> None:
    own = re.sub(r'<script type="text/plain" id="plotly">[^<]*</script>', "", page)
    assert not re.findall(r"https?://", own)
    assert not re.search(r"<(link|img|iframe|object|embed)\b|<script[^>]+src", own)


def test_the_numbers_are_those_of_the_json(outcome: Outcome, page: str) -> None:
    found, text = json.loads(json.dumps(metrics(outcome), allow_nan=False)), _text(page)
    sentence = found["verdict"]["sentence"].replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")
    assert sentence in text
    for name, skill in found["scores"]["skill"].items():
        pooled = skill["pooled"]
        value, lower, upper = (
            f"{100 * pooled[part]:+.2f}" if abs(pooled[part]) > 5e-5 else "0.00" for part in ("value", "lower", "upper")
        )
        assert f"{value} {lower} to {upper}" in text, name
        forms = found["scores"]["forecasters"][name]
        assert f" {forms[forms['delivered']]['mean_pinball_bps']['value']:.3f} " in text, name
    covered = found["scores"]["forecasters"]["tft"]["calibrated"]["coverage"]
    assert f"Between P10 and P90 fell {100 * covered['value']:.1f} %" in text
    assert found["trading"]["round_trips"] > 100
    performance = found["trading"]["performance"]
    assert f"After costs {performance['net_pct']:+.2f} %, before costs {performance['gross_pct']:+.2f} %" in text
    assert f"buy and hold {performance['hold_pct']:+.2f} %" in text
    assert found["data"]["digest"] in text
    assert found["conditions"]["command"] in text


def test_the_json_undefined_numbers_are_null_and_forms_stand_apart(outcome: Outcome) -> None:
    found = json.loads(json.dumps(metrics(outcome), allow_nan=False))
    assert found["judged"] == "tft"
    assert list(found["scores"]["forecasters"]["tft"]) == ["delivered", "raw", "calibrated", "adaptive"]
    assert found["scores"]["forecasters"]["tft"]["delivered"] == "calibrated"
    assert found["scores"]["forecasters"]["har"]["delivered"] == "raw"
    assert np.shape(found["scores"]["forecasters"]["tft"]["raw"]["pinball_loss_bps"]) == (5, 7)
    hours = outcome.forecasts.ts_us // 3_600_000_000 % 24
    assert [value is None for value in found["scores"]["coverage_by_hour"]["value"]] == [
        hour not in hours for hour in range(24)
    ]
    assert found["data"]["gaps"]["coin0usdt"] == {"missing": 0, "touched": 0, "longest": 0, "coverage": 1.0}


def test_odd_names_do_no_harm() -> None:
    evil = "</script><img src=x onerror=alert(1)>\"'&"
    panel = replace(price_panel(np.concatenate([random_walk(700, k) for k in (0, 1)]), symbols=2))
    panel = replace(panel, symbols=(evil, "b"))
    html = render(outcome_of(panel, names=("tft", "har"), command=f"midas backtest --symbols {evil}"))
    assert "<img" not in html
    assert "</script><" not in re.sub(r"</script>\s*<(figcaption|script|/body)", "", html)
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_months_of_minutes_stay_small() -> None:
    rows = 120_000
    outcome = outcome_of(price_panel(random_walk(rows, 0)), names=("tft", "har"), horizon=2)
    assert outcome.trading is not None
    assert len(outcome.forecasts.origins) > 119_000
    assert len(render(outcome)) < 2_400_000


def test_many_symbols_are_counted_rather_than_named() -> None:
    rows = 300
    panel = price_panel(np.concatenate([random_walk(rows, k) for k in range(15)]), symbols=15)
    html = render(outcome_of(panel, names=("tft", "har")))
    assert "coin11usdt and 3 more on binance-futures" in html


def test_a_horizon_of_one_bucket_and_no_baseline() -> None:
    html = render(outcome_of(names=("har",), horizon=1))
    text = _text(html)
    assert "The forecast by HAR volatility was judged alone" in text
    assert "Trading was not tried" in text
    assert "Does it hold" not in text


def test_the_final_period_is_drawn_where_it_is_sealed() -> None:
    period = FinalPeriod(START_US + 1400 * BUCKET_US, START_US + 1500 * BUCKET_US)
    html = render(outcome_of(names=("tft", "har"), final=FinalState(period=period, opened_now=False, earlier=None)))
    assert "is sealed: nothing here was trained, tuned or judged on it" in html
    assert '"final period"' in html
