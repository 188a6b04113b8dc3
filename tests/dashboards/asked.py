"""Everything that boards and alerts ask Prometheus for, and all metrics that MIDAS' code defines."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from midas_ray import stage_metrics
from midas_ray.capture import metrics as capture
from midas_ray.cloud import money_metrics
from midas_ray.forecast import metrics as training
from midas_ray.forecast.live import metrics as forecasts
from midas_ray.live import metrics as live
from midas_ray.metrics import served

CLUSTER = Path(__file__).parents[2] / "cluster"
PROMETHEUS = CLUSTER / "prometheus"
BOARDS = sorted((CLUSTER / "grafana").glob("*.json"))
BY_SCRAPE = frozenset({"job", "instance"})
"""Labels that Prometheus itself adds."""

DEFINED: dict[str, frozenset[str]] = {
    **served(capture.ALL_GAUGES, capture.ALL_COUNTERS),
    **served(stage_metrics.GAUGES),
    **served(live.GAUGES, live.COUNTERS),
    **served(training.GAUGES),
    **served(forecasts.GAUGES, forecasts.COUNTERS),
    **served(money_metrics.GAUGES, money_metrics.COUNTERS),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression as Prometheus gets it, and the labels that its legend or its text shows."""

    where: str
    expr: str
    shown: frozenset[str] = frozenset()


def board(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def panels(path: Path) -> list[dict[str, Any]]:
    """Without the headlines."""
    return [panel for panel in board(path)["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def filled(expr: str) -> str:
    """With Grafana's variables as it fills them in, everything chosen."""
    filled_in = expr.replace("$__range", "6h").replace("$__rate_interval", "1m")
    return re.sub(r"\$[a-z]+", ".*", filled_in)


def all_asked() -> list[Asked]:
    found = []
    for path in BOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                where = f"{path.name}: {panel['title']}"
                found.append(Asked(where, filled(target["expr"]), frozenset(shown)))
        for variable in board(path)["templating"]["list"]:
            if variable["type"] == "query":
                expr, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
                found.append(Asked(f"{path.name}: ${variable['name']}", filled(expr), frozenset({label})))
    for rule in alerts():
        text = " ".join(rule["annotations"].values())
        found.append(Asked(rule["alert"], rule["expr"], frozenset(re.findall(r"\$labels\.(\w+)", text))))
    return found
