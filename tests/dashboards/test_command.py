"""`midas dashboards`: files that Prometheus takes, and one line for each thing that is not as it should be."""

import configparser
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from midas_ray.capture.head import Head, read_head, stop_head, targets_path, write_head
from midas_ray.cli import main
from midas_ray.cloud.mesh import HEAD_SLOT, Ports
from tests.capture.running import MIDAS, PLAIN_ENVIRONMENT
from tests.dashboards.asked import BOARDS

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus (Debian: apt install prometheus)"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_files_name_this_folder_and_these_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "a folder"
    ports = ("--prometheus-port", "9191", "--grafana-port", "3131")
    assert main(["dashboards", "--data-dir", str(root), *ports]) == 0
    said = capsys.readouterr()
    assert said.err == f"no head runs for {root}: the boards stay empty until midas up\n"
    folder = root / ".midas" / "dashboards"
    assert f"wrote {folder}" in said.out
    assert f"'--config.file={folder}/prometheus.yml'" in said.out
    assert "http://127.0.0.1:9191/alerts" in said.out
    assert "RAY_GRAFANA_HOST=http://127.0.0.1:3131" in said.out

    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    assert config["rule_files"] == [str(folder / "alerts.yml")]
    ray, vast = config["scrape_configs"]
    assert ray["file_sd_configs"][0]["files"] == [str(root / ".midas" / "metrics-targets.json")]
    assert vast["static_configs"] == [{"targets": [f"127.0.0.1:{Ports(HEAD_SLOT).money}"]}]
    assert sorted(path.name for path in (folder / "boards").iterdir()) == [path.name for path in BOARDS]
    (source,) = yaml.safe_load((folder / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://127.0.0.1:9191"
    grafana = configparser.ConfigParser()
    grafana.read(folder / "grafana.ini")
    assert (grafana["server"]["http_addr"], grafana["server"]["http_port"]) == ("127.0.0.1", "3131")
    assert grafana["paths"]["provisioning"] == str(folder / "provisioning")
    for provider in yaml.safe_load((folder / "provisioning" / "dashboards" / "midas.yml").read_text())["providers"]:
        assert Path(provider["options"]["path"]).is_dir()


@needs_prometheus
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    assert main(["dashboards", "--data-dir", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    checked = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "out" / "prometheus.yml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_prometheus
def test_served_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    flags = ("--data-dir", str(tmp_path), "--serve", "--prometheus-port", str(port))
    serving = subprocess.Popen([MIDAS, "dashboards", *flags], env=PLAIN_ENVIRONMENT, stderr=subprocess.PIPE)
    try:
        rules = _when_it_answers(f"http://127.0.0.1:{port}/api/v1/rules", serving)
        assert "MidasBookGap" in rules
        os.kill(serving.pid, signal.SIGINT)
        assert serving.wait(60) == 130
    finally:
        serving.kill()
        serving.communicate()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def _when_it_answers(url: str, process: "subprocess.Popen[bytes]") -> str:
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s and process.poll() is None:
        try:
            return str(urllib.request.urlopen(url, timeout=5).read().decode())
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def test_serve_without_prometheus_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["dashboards", "--data-dir", str(tmp_path / "data"), "--serve"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("--serve: expected prometheus on the PATH, found none; install it")
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["dashboards", "--data-dir", str(tmp_path), "--output", str(tmp_path / "file" / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "choose another folder with --output" in line


def test_the_list_of_ports_keeps_its_name_from_head_to_head(tmp_path: Path) -> None:
    def head(session: str) -> Head:
        (tmp_path / session).mkdir()
        (tmp_path / session / "prom_metrics_service_discovery.json").write_text(session)
        return Head(gcs_address="127.0.0.1:1", dashboard_url="", session_id=2**22, temp_dir=str(tmp_path / session))

    for session in ("one", "two"):
        write_head(tmp_path, head(session))
        assert targets_path(tmp_path).read_text() == session
    last = read_head(tmp_path)
    assert last is not None
    stop_head(tmp_path, last)
    assert not targets_path(tmp_path).is_symlink()
