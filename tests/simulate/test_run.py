"""`midas simulate` as a command: addresses, times, ports, signals."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import trustme

from midas_ray.cli import main
from midas_ray.errors import UsageError
from midas_ray.simulate.run import parse_listen, parse_start_ns


def test_parse_listen() -> None:
    assert parse_listen("127.0.0.1:8900") == ("127.0.0.1", 8900)
    assert parse_listen("localhost:0") == ("localhost", 0)


@pytest.mark.parametrize(
    "listen", ["8900", ":8900", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999", "a:-1"]
)
def test_bad_listen(listen: str) -> None:
    with pytest.raises(UsageError, match="--listen: expected ADDRESS:PORT such as"):
        parse_listen(listen)


@pytest.mark.parametrize("start", ["2026-01-05T00:00:00Z", "2026-01-05", "2026-01-05T01:00:00+01:00"])
def test_parse_start(start: str) -> None:
    assert parse_start_ns(start) == 1_767_571_200_000_000_000


@pytest.mark.parametrize("start", ["yesterday", "", "1970-01-01"])
def test_bad_start(start: str) -> None:
    with pytest.raises(UsageError, match="--start: expected a"):
        parse_start_ns(start)


def test_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["simulate", "--listen", f"127.0.0.1:{port}", "--symbols", "btcusdt"])
    captured = capsys.readouterr()
    assert code != 0
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"127.0.0.1:{port}: cannot listen there" in captured.err


def test_address_of_another_machine_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--listen", "192.0.2.1:0", "--symbols", "btcusdt"]) != 0
    assert capsys.readouterr().err.count("\n") == 1


def test_history_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "--history", "20s", "--symbols", "btcusdt", "--seed", "3", "--data-dir", str(tmp_path)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("btcusdt: ")
    assert "x real time" in out
    assert main(arguments) != 0
    assert capsys.readouterr().err.count("\n") == 1


def test_unwritable_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["simulate", "--history", "20s", "--data-dir", str(tmp_path / "file" / "data")]) != 0
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_server_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "midas_ray.cli", "simulate", "--listen", "127.0.0.1:0", "--symbols", "btcusdt"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[-1] + "/fapi/v1/time", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_faults_truth_and_tls_as_a_command(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    client = ssl.create_default_context()
    authority.configure_trust(client)
    script = tmp_path / "faults.jsonl"
    script.write_text('{"kind":"rest-refused","at_s":0,"duration_s":60,"status":451}\n')
    options = [
        "--faults",
        str(script),
        "--truth",
        str(tmp_path / "truth"),
        "--tls-cert",
        str(pem),
        "--tls-key",
        str(pem),
    ]
    command = [sys.executable, "-m", "midas_ray.cli", "simulate", "--listen", "127.0.0.1:0", "--symbols", "btcusdt"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert url.startswith("https://127.0.0.1:")
        with pytest.raises(urllib.error.HTTPError, match="451"):
            urllib.request.urlopen(url + "/fapi/v1/time", timeout=10, context=client)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert out == "faults carried out: rest-refused 1\n"
    log = [json.loads(line) for line in (tmp_path / "truth" / "faults.jsonl").read_text().splitlines()]
    assert [entry["action"] for entry in log] == ["start", "hit"]
    assert (tmp_path / "truth" / "symbol=btcusdt" / "first.parquet").is_file()


@pytest.mark.parametrize("flags", [["--tls-cert", "x.pem"], ["--tls-cert", "no.pem", "--tls-key", "no.pem"]])
def test_bad_certificates_are_one_line(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--listen", "127.0.0.1:0", "--symbols", "btcusdt", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "--tls-cert" in captured.err
