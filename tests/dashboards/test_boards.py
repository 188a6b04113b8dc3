"""The boards: whole, plain Grafana, and asking for what the code defines."""

import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboards.asked import BOARDS, BY_SCRAPE, DEFINED, all_asked, board, panels
from tests.dashboards.promql import groupings, selectors

CORE_PANELS = {"stat", "timeseries", "state-timeline"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_there_is_a_board_for_each_thing_that_people_look_at() -> None:
    assert [path.stem for path in BOARDS] == ["capture", "live", "money", "pipeline", "training"]
    assert len({board(path)["uid"] for path in BOARDS}) == len(BOARDS)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_board_is_whole(path: Path) -> None:
    content = board(path)
    names = [variable["name"] for variable in content["templating"]["list"]]
    assert names[0] == "datasource"
    assert content["title"].startswith("MIDAS ")
    assert content["description"]
    everything = content["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for panel in panels(path):
        assert panel["type"] in CORE_PANELS, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["type"] != "stat" or panel["fieldConfig"]["defaults"]["thresholds"]["steps"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE, panel["title"]
            used = {part for part in names if f"${part}" in target["expr"]}
            assert used or "$" not in target["expr"].replace("$__", ""), target["expr"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_no_panel_covers_another(path: Path) -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))

    seen: set[tuple[int, int]] = set()
    for panel in board(path)["panels"]:
        own = cells(panel)
        assert max(x for x, _ in own) < 24
        assert not own & seen, panel["title"]
        seen |= own


def test_what_is_asked_for_is_defined() -> None:
    for asked in all_asked():
        for selector in selectors(asked.expr):
            if selector.name.startswith("ray_midas_"):
                assert selector.name in DEFINED, asked
                assert selector.labels <= DEFINED[selector.name] | BY_SCRAPE, asked
        for grouping in groupings(asked.expr):
            for name in grouping.metrics & DEFINED.keys():
                assert grouping.labels <= DEFINED[name] | BY_SCRAPE, asked


def test_what_is_defined_is_asked_for() -> None:
    named = {selector.name for asked in all_asked() for selector in selectors(asked.expr)}
    assert DEFINED.keys() - named == set()


def test_what_is_shown_is_left_by_the_expression() -> None:
    for asked in all_asked():
        kept = [grouping.labels for grouping in groupings(asked.expr)]
        if kept and asked.shown:
            assert any(asked.shown <= labels for labels in kept), asked
        for selector in selectors(asked.expr):
            if not kept and selector.name in DEFINED:
                assert asked.shown <= DEFINED[selector.name] | BY_SCRAPE, asked


def test_every_expression_is_promql(tmp_path: Path) -> None:
    """By Prometheus' own parser."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    rules = [
        {"record": f"asked:{number}", "expr": asked.expr}
        for number, asked in enumerate(all_asked())
        if "__name__" not in asked.expr  # a selection of series, no expression
    ]
    path = tmp_path / "asked.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
