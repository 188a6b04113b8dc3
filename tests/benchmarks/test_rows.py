"""Rows of the benchmarks: medians of alternating rounds, ratios within a round, JSON and back."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.rows import Row, Target, Timing, finish, in_turn, show


def test_works_run_in_turn_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []
    timing = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warm_up=2)
    assert order == ["a", "b"] * 5
    assert len(timing["a"].wall_s) == len(timing["b"].processor_s) == 3


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    ours, theirs = Timing([1.0, 2.0, 4.0], [1.0, 1.0, 1.0]), Timing([8.0, 8.0, 8.0], [3.0, 5.0, 4.0])
    assert theirs.over(ours) == {"ratio": 4.0, "processor_ratio": 4.0}
    assert theirs.then(ours).wall_s == [9.0, 10.0, 12.0]
    row = ours.row("b", "w", against="x", **theirs.over(ours))
    assert (row.value, row.least, row.processor_s) == (2.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "bound", "met"), [("at least", 8, False), ("at most", 8, True), ("at least", 3, True)]
)
def test_a_target_is_for_the_ratio_where_there_is_one(kind: str, bound: float, met: bool) -> None:
    target = Target(bound, kind)  # type: ignore[arg-type]
    assert Row(benchmark="b", what="w", value=100.0, against="x", ratio=5.0, target=target).met == met
    assert Row(benchmark="b", what="w", value=5.0, target=target).met == met
    assert Row(benchmark="b", what="w", value=5.0).met is None


def test_rows_survive_json_and_fill_the_table(tmp_path: Path) -> None:
    rows = [
        Row(benchmark="peer", what="equal", value=0.0, unit="", target=Target(1, "at least"), note="0 of 9"),
        Row(benchmark="peer", what="replay", value=0.5, least=0.4, against="ours", ratio=8.5, processor_ratio=8.25),
    ]
    finish(rows, tmp_path / "rows.json")
    assert [Row.from_json(kept) for kept in json.loads((tmp_path / "rows.json").read_text())] == rows
    out = io.StringIO()
    show(rows, Console(file=out, width=200))
    text = out.getvalue()
    assert all(words in text for words in ("missed", "0 of 9", "8.5 x ours", "8.25", "0.4 s"))
