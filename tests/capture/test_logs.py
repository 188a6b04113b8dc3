"""`midas logs`: the last lines, by time; what is added while following, across a rotation."""

import json
from pathlib import Path

import pytest

from midas_ray.capture.logs import _print_added, last_lines, log_files, readable
from midas_ray.cli import main
from midas_ray.log import stage_logger


def test_stages_log_json_lines_that_are_shown_by_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = stage_logger(tmp_path, "collector", "btcusdt")
    second = stage_logger(tmp_path, "collector", "ethusdt")
    first.info("one", n=1)
    second.warning("two", reason="why not")
    first.error("three")
    stage_logger(tmp_path, "features").info("four")
    lines = (tmp_path / "logs" / "collector-btcusdt.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["one", "three"]
    assert main(["logs", "--data-dir", str(tmp_path), "collector"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in shown] == [
        "info collector btcusdt one n=1",
        "warning collector ethusdt two reason=why not",
        "error collector btcusdt three",
    ]
    assert main(["logs", "--data-dir", str(tmp_path), "--lines", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert [path.name for path in log_files(tmp_path / "logs", "features")] == ["features.log"]


def test_no_log_yet_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "--data-dir", str(tmp_path), "processor"]) == 1
    assert "expected a log of processor, found none" in capsys.readouterr().err
    assert main(["logs", "--data-dir", str(tmp_path), "nonsense"]) == 2


@pytest.mark.parametrize("most", [1, 3, 1000, 5000])
def test_last_lines_are_read_from_the_end(tmp_path: Path, most: int) -> None:
    path = tmp_path / "x.log"
    lines = [f"line {n} " + "x" * (n % 200) for n in range(2000)]
    path.write_text("\n".join(lines) + "\n")
    assert last_lines(path, most, path.stat().st_size) == lines[-most:]
    half = len("\n".join(lines[:1000]) + "\n")
    assert last_lines(path, most, half) == lines[max(1000 - most, 0) : 1000]


def test_following_reads_whole_lines_and_goes_on_after_a_rotation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, positions = tmp_path / "x.log", {}
    path.write_text("one\ntw")
    _print_added(path, positions)
    assert capsys.readouterr().out == "one\n"
    with path.open("a") as stream:
        stream.write("o\n")
    _print_added(path, positions)
    assert capsys.readouterr().out == "two\n"
    path.rename(tmp_path / "x.log.1")
    _print_added(path, positions)
    path.write_text("three\n")
    _print_added(path, positions)
    assert capsys.readouterr().out == "three\n"


def test_what_is_no_json_is_shown_as_it_is() -> None:
    assert readable("plain text") == "plain text"
    assert readable("[1]") == "[1]"
