"""The `midas` command: help, version, wrong input, and which source of a setting comes first."""

import re
from pathlib import Path

import pytest

from midas_ray import __version__, settings
from midas_ray.cli import COMMANDS, main
from midas_ray.setting_values import parse_duration_s
from midas_ray.settings import Collect, Reconstruct, parse_settings

WRONG = [
    (["collect", "--nonsense", "1"], "midas collect: unrecognized arguments: --nonsense 1"),
    (["collect", "--depth-speed-ms", "77"], "--depth-speed-ms"),
    (["collect", "--duration", "0s"], "--duration: input should be greater than 0"),
    (["collect", "--symbols", "btc/usdt"], "'btc/usdt' is not a symbol"),
    (["collect", "--venue", "nasdaq"], "--venue"),
    (["collect", "--exchange-url"], "--exchange-url"),
    (["reconstruct", "--order-book-depth", "5"], "--order-book-depth: expected 10 to 50 levels, found '5'"),
    (["features", "--time-bucket-ms", "many"], "--time-bucket-ms"),
    (["train", "--dropout", "1.5"], "--dropout"),
    (["import", "tarot", "x"], "tarot"),
    (["logs", "everything"], "everything"),
    (["clean-data", "--older-than", "soon"], "--older-than: expected a duration"),
]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        summary = (command.settings_class.__doc__ or "").strip().splitlines()[0]
        assert re.search(rf"^  {name} +{re.escape(summary)}$", out, re.MULTILINE)
    assert main([]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"midas {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_says_what_every_setting_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"midas {name}" in out
    for field_name, field in COMMANDS[name].settings_class.model_fields.items():
        assert field.description, f"{field_name} has no description"
        assert " ".join(field.description.split()) in out, field_name
        flag = "--" + field_name.replace("_", "-")
        positional = any("CliPositional" in str(entry) for entry in field.metadata)
        assert positional or flag in out
        if isinstance(field.default, int | float | str) and not positional:
            assert str(field.default) in out, f"{flag} does not show its default {field.default}"


def test_times_and_sizes_name_their_unit() -> None:
    """By the name's suffix or in the description."""
    units = {"ms": " ms", "s": " s", "mb": " mb", "bps": "bps", "share": "share"}
    checked = 0
    for command in COMMANDS.values():
        for field_name, field in command.settings_class.model_fields.items():
            unit = field_name.rpartition("_")[2]
            if unit in units:
                checked += 1
                assert units[unit] in f" {field.description}".lower(), field_name
    assert checked >= 8


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_input_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*arguments, "--data-dir", str(tmp_path / "data")]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
    assert "--help" in err
    assert not (tmp_path / "data").exists()


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["colect"]) == 2
    err = capsys.readouterr().err
    assert "no command 'colect'; expected one of demo, doctor, up" in err


def test_precedence_flag_environment_file_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(*flags: str) -> int:
        return parse_settings(Reconstruct, "reconstruct", list(flags)).snapshot_interval_ms

    assert seen() == 100
    (tmp_path / ".env").write_text("SNAPSHOT_INTERVAL_MS=200\nSYMBOL=ethusdt\n")
    assert seen() == 200
    monkeypatch.setenv("SNAPSHOT_INTERVAL_MS", "300")
    assert seen() == 300
    assert seen("--snapshot-interval-ms", "400") == 400
    assert Reconstruct(snapshot_interval_ms=500).snapshot_interval_ms == 500
    assert parse_settings(Collect, "collect", []).symbols == ("ethusdt",)
    monkeypatch.setenv("SYMBOLS", "btcusdt, ETHUSDT,btcusdt")
    assert parse_settings(Collect, "collect", []).symbols == ("btcusdt", "ethusdt")
    assert Collect(symbols=("solusdt",)).symbols == ("solusdt",)


def test_a_wrong_environment_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTH_SPEED_MS", "fast")
    assert main(["collect", "--duration", "1s"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "--depth-speed-ms" in err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("24h", 86400), ("7d", 604800), ("500ms", 0.5), ("2", 2), (1.5, 1.5)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 week", "1h30m", "nan"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as"):
        parse_duration_s(text)


def test_every_command_takes_the_data_folder() -> None:
    for name, command in COMMANDS.items():
        assert "data_dir" in command.settings_class.model_fields, name
        assert issubclass(command.settings_class, settings.MidasSettings)
