"""Fault scripts: from a seed, to and from files, as the command line names them. What they do to frames."""

import json
from pathlib import Path

import pytest

from midas_ray.cli import main
from midas_ray.errors import DataError, UsageError
from midas_ray.simulate.faults import FINAL, REST, Fault, FaultScript, Kind, parse_faults
from midas_ray.simulate.faults_frames import GARBAGE, Disturbance, Frame

SYMBOLS = ("btcusdt", "ethusdt")


def test_a_seed_gives_a_script() -> None:
    first = FaultScript.random(3, 60, 300.0, SYMBOLS)
    assert first.faults == FaultScript.random(3, 60, 300.0, SYMBOLS).faults
    assert first.faults != FaultScript.random(4, 60, 300.0, SYMBOLS).faults
    assert len(first.faults) == 60
    assert all(5 <= fault.at_s <= 300 for fault in first.faults)
    assert [fault.at_s for fault in first.faults] == sorted(fault.at_s for fault in first.faults)


def test_one_up_leaves_nothing_to_lose_and_has_every_other_kind() -> None:
    faults = FaultScript.random(3, 60, 300.0, SYMBOLS).faults
    assert {fault.kind for fault in faults} == set(Kind) - FINAL - {Kind.VENUE_GAP}
    assert {fault.connection for fault in faults} == {"one"}
    assert not any(fault.provoke for fault in faults)
    assert 451 not in {fault.status for fault in faults}


def test_any_has_gaps_too() -> None:
    faults = FaultScript.random(3, 120, 300.0, SYMBOLS, mode="any").faults
    assert {fault.kind for fault in faults} == set(Kind) - FINAL
    assert {fault.connection for fault in faults} == {"one", "all"}
    assert all(fault.provoke == (fault.kind in REST) for fault in faults)


def test_script_survives_a_file(tmp_path: Path) -> None:
    script = FaultScript.random(5, 40, 100.0, SYMBOLS, mode="any")
    script.save(tmp_path / "faults.jsonl")
    assert FaultScript.load(tmp_path / "faults.jsonl").faults == script.faults
    assert parse_faults(str(tmp_path / "faults.jsonl"), SYMBOLS, None).faults == script.faults
    assert script.needs_s >= max(fault.at_s for fault in script.faults)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"kind":"explode","at_s":1}', "explode"),
        ('{"kind":"drop"}', "at_s"),
        ('{"kind":"drop","at_s":-1}', "negative"),
        ('{"kind":"drop","at_s":1,"share":0}', "share"),
        ('{"kind":"rest-refused","at_s":1,"status":200}', "status"),
        ('{"kind":"venue-gap","at_s":1,"stream":"kline"}', "venue-gap"),
        ('{"kind":"drop","at_s":1,"sahre":0.5}', "sahre"),
        ("drop", "malformed"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, found: str) -> None:
    path = tmp_path / "faults.jsonl"
    path.write_text('{"kind":"cut","at_s":1}\n\n' + line + "\n")
    with pytest.raises(DataError, match=f"{path.name}:3: expected a fault, found: .*{found}"):
        FaultScript.load(path)


def test_command_line_names_scripts() -> None:
    assert len(parse_faults("random:3:20", SYMBOLS, 60.0).faults) == 20
    assert max(fault.at_s for fault in parse_faults("random:3:20", SYMBOLS, 60.0).faults) <= 60
    assert any(fault.kind is Kind.VENUE_GAP for fault in parse_faults("random:3:60:any", SYMBOLS, None).faults)


@pytest.mark.parametrize("text", ["random:", "random:1", "random:x:3", "random:1:2:all", "/no/such/file"])
def test_bad_faults_are_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--faults"):
        parse_faults(text, SYMBOLS, None)
    assert main(["simulate", "--listen", "127.0.0.1:0", "--faults", text]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def frame_of(number: int) -> str:
    return json.dumps({"stream": "btcusdt@depth@100ms", "data": {"u": number}})


def through(fault: Fault, count: int = 40, stream: str = "btcusdt@depth@100ms") -> list[list[Frame]]:
    disturbance = Disturbance(fault, lambda name: name.startswith("btcusdt@depth"), "seed")
    return [disturbance.frames(stream, frame_of(number)) for number in range(count)] + [disturbance.left()]


def test_a_share_is_dropped() -> None:
    lengths = [len(made) for made in through(Fault(kind=Kind.DROP, at_s=0, share=0.5))[:-1]]
    assert set(lengths) == {0, 1}
    assert 10 <= lengths.count(0) <= 30


def test_duplicates_come_twice() -> None:
    assert through(Fault(kind=Kind.DUPLICATE, at_s=0), 2) == [[frame_of(0)] * 2, [frame_of(1)] * 2, []]


def test_reordered_frames_all_come_once() -> None:
    made = through(Fault(kind=Kind.REORDER, at_s=0), 5)
    assert made == [[], [frame_of(1), frame_of(0)], [], [frame_of(3), frame_of(2)], [], [frame_of(4)]]


def test_truncated_frames_are_pieces() -> None:
    for number, (piece,) in enumerate(through(Fault(kind=Kind.TRUNCATED, at_s=0))[:-1]):
        assert 0 < len(piece) < len(frame_of(number))
        assert isinstance(piece, str)
        assert frame_of(number).startswith(piece)


def test_malformed_frames_come_between() -> None:
    made = through(Fault(kind=Kind.MALFORMED, at_s=0))[:-1]
    assert [frames[-1] for frames in made] == [frame_of(number) for number in range(40)]
    assert {frames[0] for frames in made} <= set(GARBAGE)
    assert len({frames[0] for frames in made}) > 5


@pytest.mark.parametrize("kind", [Kind.DROP, Kind.SILENT, Kind.DUPLICATE, Kind.REORDER, Kind.TRUNCATED])
def test_other_streams_pass_untouched(kind: Kind) -> None:
    made = through(Fault(kind=kind, at_s=0), 5, "btcusdt@trade")
    assert made == [[frame_of(number)] for number in range(5)] + [[]]
