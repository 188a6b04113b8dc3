"""Each alert fires when it should and is silent when it should be, by Prometheus' own unit tests."""

import shutil
import subprocess

import pytest
import yaml

from tests.dashboards.asked import PROMETHEUS, alerts

TESTS = PROMETHEUS / "alerts_test.yml"


def test_each_alert_is_tried_firing_and_silent() -> None:
    tried = [rule for test in yaml.safe_load(TESTS.read_text())["tests"] for rule in test["alert_rule_test"]]
    firing = {rule["alertname"] for rule in tried if rule["exp_alerts"]}
    silent = {rule["alertname"] for rule in tried if not rule["exp_alerts"]}
    names = {rule["alert"] for rule in alerts()}
    assert (firing, silent) == (names, names)


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)
@pytest.mark.parametrize("check", [("test", "rules", str(TESTS)), ("check", "rules", str(PROMETHEUS / "alerts.yml"))])
def test_by_promtool(check: tuple[str, ...]) -> None:
    run = subprocess.run(["promtool", *check], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
