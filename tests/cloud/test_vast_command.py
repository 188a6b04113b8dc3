"""`midas vast offers` and `midas vast fake`, as a user runs them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from midas_ray.cli import main
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.fake import FakeHandle
from midas_ray.settings import Vast


@pytest.fixture
def account(fake: FakeHandle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHandle:
    monkeypatch.setenv("VAST_URL", fake.url)
    monkeypatch.setenv("VAST_API_KEY", fake.api_key)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(VastClient.__init__, "__kwdefaults__", VastClient.__init__.__kwdefaults__ | {"intervals_s": {}})
    return fake


def run(*argv: str) -> int:
    return main(["vast", *argv])


def test_help_lists_the_actions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run("--help")
    assert end.value.code == 0
    out = capsys.readouterr().out
    for action in get_args(Vast.__annotations__["action"].__args__[0]):
        assert re.search(rf"^midas vast {action}  +\S.*$", out, re.MULTILINE), action


def test_a_table_cheapest_first(account: FakeHandle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("offers", "--rows", "3") == 0
    out = capsys.readouterr().out
    rows = out.splitlines()
    for column in ("GPU", "VRAM", "$/h", "reliability", "down", "up", "region", "machine"):
        assert column in rows[0]
    prices = [float(found) for found in re.findall(r" GB +(\d+\.\d{3}) ", out)]
    assert len(prices) == 3
    assert prices == sorted(prices)
    assert rows[-1].endswith("offers fit, 3 of them shown; prices: 40 GB of disk included")
    assert account.api_key not in out


def test_flags_are_conditions(account: FakeHandle, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--gpu-names", "RTX_4090,RTX 3090", "--num-gpus", "0", "--min-reliability", "0.9", "--market", "bid"]
    assert run("offers", "--json", "--max-price-per-hour", "0.6", "--no-verified", *flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["gpu_name"] for each in found} == {"RTX 4090", "RTX 3090"}
    assert max(each["dph_total"] for each in found) <= 0.6
    assert len({each["num_gpus"] for each in found}) > 1
    assert all(each["is_bid"] for each in found)


def test_no_offer_under_the_cap_says_the_cheapest_and_what_to_relax(
    account: FakeHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("offers", "--gpu-names", "H100 SXM", "--max-price-per-hour", "0.5", "--json") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(
        r"no offer fits; the cheapest that would: 1 x H100 SXM \(80 GB, .+\) at \$\d\.\d{3}/h with the price cap "
        r"raised from \$0\.5 to \$\d\.\d{3} an hour; or 1 x RTX \d+ .+ at \$0\.\d{3}/h with the model RTX \d+ let in\n",
        said.err,
    )


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("VAST_API_KEY", "", r"no Vast.ai API key: expected VAST_API_KEY in the environment or a 0600 file .*"),
        ("VAST_API_KEY", "wrong", r"Vast.ai API: search: the API key is refused \(HTTP 401: Invalid user key\): .*"),
        ("VAST_URL", "http://vast.example", r"VAST_URL: expected https .*"),
    ],
)
def test_bad_input_is_one_line(
    account: FakeHandle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    line: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert run("offers") in (1, 2)
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(line + r"\n", said.err)


def test_flags_that_make_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("offers", "--num-gpus", "9") == 2
    assert run("offers", "--market", "auction") == 2
    assert run("auction") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3


def test_a_port_of_the_environment_is_somebody_elses(
    account: FakeHandle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "no number")
    monkeypatch.setenv("ROWS", "50")
    monkeypatch.setenv("REGIONS", "nowhere")
    assert run("offers", "--rows", "1") == 0
    assert "1 of them shown" in capsys.readouterr().out


def test_the_fake_says_how_to_use_it_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"loading_s": 0.0, "credit": 3.5, "intervals_s": {}}))
    command = [sys.executable, "-m", "midas_ray.cli", "vast", "fake", "--port", "0", "--fake-script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as served:
        try:
            assert served.stdout is not None
            said = [served.stdout.readline() for _ in range(5)]
            found = re.search(r"export VAST_URL=(\S+) VAST_API_KEY=(\S+)", "".join(said))
            assert found, said
            with VastClient(found[2], found[1], intervals_s={}) as vast:
                assert vast.account().credit == 3.5
            steered = FakeHandle(found[1], found[2]).steer()
            assert (steered["loading_s"], steered["provisioned_s"]) == (0.0, 1.0)
            offers = subprocess.run(
                [sys.executable, "-m", "midas_ray.cli", "vast", "offers", "--rows", "1"],
                env=os.environ | {"VAST_URL": found[1], "VAST_API_KEY": found[2]},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert "offers fit, 1 of them shown" in offers.stdout
            served.send_signal(signal.SIGINT)
            rest, _ = served.communicate(timeout=30)
        finally:
            served.kill()
    assert served.returncode == 0
    assert "0 instances were made, 0 still there; $0.0000" in rest


def test_without_httpx_it_says_what_to_install(
    account: FakeHandle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("midas_ray.cloud.vast_command.find_spec", lambda _: None)
    assert run("offers") == 2
    assert capsys.readouterr().err == (
        "midas vast: expected the package httpx, found none; pip install 'midas-ray[cloud]'\n"
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"loadng_s": 1}', '{"loading_s": "soon"}'])
def test_a_bad_script_is_one_line(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.json"
    script.write_text(text)
    assert run("fake", "--port", "0", "--fake-script", str(script)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
