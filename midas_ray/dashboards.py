"""`midas dashboards`: writes what Prometheus and Grafana need, with this machine's paths, and says how to open them."""

import shlex
import shutil
import subprocess
from pathlib import Path

import yaml

from midas_ray import console
from midas_ray.capture import head as head_node
from midas_ray.capture.session import local_root
from midas_ray.errors import DataError, MidasError, StorageError, UsageError
from midas_ray.settings import Dashboards

SOURCE = Path(__file__).resolve().parents[1] / "cluster"
KEPT_FOR = "90d"
HOST = "127.0.0.1"

GRAFANA_INI = """\
[server]
http_addr = {host}
http_port = {port}
[paths]
data = {folder}/grafana-data
logs = {folder}/grafana-data/log
plugins = {folder}/grafana-data/plugins
provisioning = {folder}/provisioning
[auth.anonymous]
enabled = true
org_role = Viewer
[security]
# Ray's dashboard shows boards in frames of its own.
allow_embedding = true
[analytics]
reporting_enabled = false
check_for_updates = false
check_for_plugin_updates = false
"""


def dashboards(settings: Dashboards) -> int:
    """Run `midas dashboards`; gives the exit code.

    Raises DataError where this is no checkout, StorageError, UsageError where --serve finds no Prometheus, MidasError
    where Prometheus fails.
    """
    root = local_root(settings)
    prometheus = shutil.which("prometheus")
    if settings.serve and prometheus is None:
        raise UsageError(
            "--serve: expected prometheus on the PATH, found none; install it (Debian: apt install prometheus), or "
            "leave --serve out"
        )
    if not (SOURCE / "grafana").is_dir():
        raise DataError(f"expected the boards in {SOURCE}/grafana, found none; run this from a checkout of MIDAS")
    head = head_node.read_head(root)
    running = head if head is not None and head_node.is_running(head) else None
    folder = Path(settings.output or root / ".midas" / "dashboards").resolve()
    try:
        _write(folder, root, settings)
        if running is not None:
            _copy_boards_of_ray(Path(running.temp_dir), folder)
    except OSError as error:
        raise StorageError(
            f"cannot write {error.filename or folder}: {error.strerror}; choose another folder with --output"
        ) from None
    start = _prometheus_command(folder, settings)
    _tell(folder, settings, start, running)
    if running is None:
        console.err.print(f"no head runs for {root}: the boards stay empty until midas up", markup=False)
    return _serve(start) if settings.serve else 0


def _write(folder: Path, root: Path, settings: Dashboards) -> None:
    config = yaml.safe_load((SOURCE / "prometheus" / "prometheus.yml").read_text())
    config["rule_files"] = [str(folder / "alerts.yml")]
    (discovery,) = config["scrape_configs"][0]["file_sd_configs"]
    discovery["files"] = [str(head_node.targets_path(root))]
    boards = folder / "boards"
    boards.mkdir(parents=True, exist_ok=True)
    for board in sorted((SOURCE / "grafana").glob("*.json")):
        shutil.copy(board, boards / board.name)
    (folder / "ray").mkdir(exist_ok=True)
    shutil.copy(SOURCE / "prometheus" / "alerts.yml", folder / "alerts.yml")
    (folder / "grafana.ini").write_text(GRAFANA_INI.format(host=HOST, port=settings.grafana_port, folder=folder))
    source = {
        "name": "Prometheus",
        "type": "prometheus",
        "access": "proxy",
        "isDefault": True,
        "url": f"http://{HOST}:{settings.prometheus_port}",
        "jsonData": {"timeInterval": config["global"]["scrape_interval"]},
    }
    providers = [
        {"name": name, "folder": name, "type": "file", "options": {"path": str(path)}}
        for name, path in (("MIDAS", boards), ("Ray", folder / "ray"))
    ]
    files = {
        "prometheus.yml": config,
        "provisioning/datasources/prometheus.yml": {"apiVersion": 1, "datasources": [source]},
        "provisioning/dashboards/midas.yml": {"apiVersion": 1, "providers": providers},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))


def _copy_boards_of_ray(temp_dir: Path, folder: Path) -> None:
    """Ray makes its own boards in each session; its dashboard shows them from Grafana."""
    for board in sorted((temp_dir / "session_latest" / "metrics" / "grafana" / "dashboards").glob("*.json")):
        shutil.copy(board, folder / "ray" / board.name)


def _prometheus_command(folder: Path, settings: Dashboards) -> list[str]:
    return [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus-data",
        f"--storage.tsdb.retention.time={KEPT_FOR}",
        f"--web.listen-address={HOST}:{settings.prometheus_port}",
    ]


def _tell(folder: Path, settings: Dashboards, start: list[str], running: head_node.Head | None) -> None:
    prometheus, grafana = f"http://{HOST}:{settings.prometheus_port}", f"http://{HOST}:{settings.grafana_port}"
    ray = "midas up starts it" if running is None else running.dashboard_url
    ports = (settings.prometheus_port, settings.grafana_port)
    lines = [
        f"wrote {folder}",
        "",
        "start, each in a terminal of its own (on the head):",
        f"  {shlex.join(start)}",
        f"  grafana server --homepath /usr/share/grafana --config {shlex.quote(f'{folder}/grafana.ini')}",
        "open:",
        f"  boards           {grafana}/dashboards",
        f"  alerts           {prometheus}/alerts",
        f"  Ray's dashboard  {ray}",
        "from a laptop:",
        f"  ssh {' '.join(f'-L {port}:{HOST}:{port}' for port in ports)} HEAD",
        "boards inside Ray's dashboard: set before midas up",
        f"  export RAY_PROMETHEUS_HOST={prometheus} RAY_GRAFANA_HOST={grafana}",
    ]
    for line in lines:
        console.out.print(line, markup=False)


def _serve(start: list[str]) -> int:
    """Run Prometheus until Ctrl-C, which it gets too; gives 0. Raises MidasError where it ends by itself."""
    process = subprocess.Popen(start)
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    raise MidasError(f"prometheus has ended (exit code {code}); its last lines say why")
