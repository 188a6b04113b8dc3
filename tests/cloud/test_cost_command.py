"""`midas vast cost`, against a fake account, ledgers in a home folder, and what a Ray dashboard answered."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from midas_ray.cli import main
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.fake import FakeHandle
from midas_ray.cloud.ledger import Ledger
from midas_ray.cloud.messages import Offer
from midas_ray.cloud.node_state import StateFile
from midas_ray.cloud.offers import OfferQuery

TOKEN = "t0ken-of-the-cluster"
OFFER = Offer(id=7, machine_id=70, gpu_name="RTX 4090", num_gpus=1, gpu_ram_mb=24000, dph_total=0.5)
HEAD, NODE = "bb31ab2c", "47171fc4"


class Dashboard(BaseHTTPRequestHandler):
    """What Ray 2.60's dashboard answers, taken from one; as far as it is read, with a secret beside it."""

    answers: dict[str, Any] = {}  # noqa: RUF012
    token = TOKEN

    def do_GET(self) -> None:
        allowed = self.headers.get("Authorization") == f"Bearer {self.token}"
        answer = self.answers.get(self.path.split("?")[0]) if allowed else None
        self.send_response(401 if not allowed else 404 if answer is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


def state(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"result": True, "msg": "", "data": {"result": {"total": len(rows), "result": list(rows)}}}


def job(number: int, begin: float, end: float | None, entrypoint: str) -> dict[str, Any]:
    return {
        "type": "SUBMISSION", "job_id": f"0{number}000000", "submission_id": f"raysubmit_{number}", "driver_info": None,
        "status": "RUNNING" if end is None else "SUCCEEDED", "entrypoint": entrypoint, "start_time": int(1000 * begin),
        "end_time": None if end is None else int(1000 * end), "runtime_env": {"env_vars": {"KEY": "a-secret"}},
    }  # fmt: skip


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(fake: FakeHandle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VAST_URL", fake.url)
    monkeypatch.setenv("VAST_API_KEY", fake.api_key)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setattr(VastClient.__init__, "__kwdefaults__", VastClient.__init__.__kwdefaults__ | {"intervals_s": {}})
    return tmp_path


def rent(vast: VastClient, label: str) -> int:
    offers = vast.search(OfferQuery(gpu_names=("RTX 4090",), num_gpus=1, disk_gb=40))
    return vast.create(offers[0].id, image="image", disk_gb=40, label=label, env={}, onstart="", bid_price=None)


def ledger_of(home: Path, cluster: str, on_head: bool = True) -> Ledger:
    folder = home / ".midas" / "clusters" / cluster
    folder.mkdir(parents=True)
    if on_head:
        (folder / "status.json").write_text("{}")
    return Ledger(folder)


def told(capsys: pytest.CaptureFixture[str], *flags: str) -> Any:
    assert main(["vast", "cost", "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def test_nothing_rented_and_nothing_spent(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vast", "cost"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("nothing is rented\nspent     $0.0000 today, $0.0000 this month, $0.0000 in all")
    assert "credit $25.00\n" in out
    assert "jobs      not known: expected the ledger of a head on this machine, found none" in out
    assert list(home.glob(".midas/*")) == []


def test_on_a_head_that_never_rented_anything_jobs_cost_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger_of(home, "midas-1")
    assert main(["vast", "cost"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("nothing is rented\nspent     $0.0000 today")
    assert out.endswith("\n0 jobs on rented nodes cost $0.0000; without a job, $0.0000\n")
    assert "ray exec" not in out
    costs = told(capsys)
    assert (costs["jobs"], costs["idle"], costs["jobs_unknown"]) == ([], 0.0, None)


def test_what_runs_with_others_apart_and_what_was_spent(
    home: Path, fake: FakeHandle, vast: VastClient, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    ours, others = rent(vast, "midas/midas-1/w2/aa"), rent(vast, "somebody's own")
    ledger = ledger_of(home, "midas-1")
    ledger.rented(1, OFFER, 1.0, "midas/midas-1/w2/old", now - 40 * 86400)
    ledger.ended(1, now - 40 * 86400 + 7200, "idle")
    ledger.rented(ours, OFFER, 0.6, "midas/midas-1/w2/aa", now - 1800)
    before = ledger.path.read_bytes()
    costs = told(capsys)
    rows = {row["id"]: row for row in costs["running"]}
    assert (rows[ours]["cluster"], rows[others]["cluster"]) == ("midas-1", None)
    assert rows[ours]["so_far"] == pytest.approx(0.3, abs=0.01)
    assert costs["ever"] == pytest.approx(2.3, abs=0.01)
    assert 0 < costs["month"] <= 0.31
    assert costs["dollars_per_hour"] == rows[ours]["price_per_hour"]
    assert costs["ledgers"] == ["midas-1"]
    assert costs["elsewhere"] == []
    assert ledger.path.read_bytes() == before
    assert main(["vast", "cost"]) == 0
    out = capsys.readouterr().out
    assert "others' (never touched)" in out
    assert "$2.30 in all" in out
    assert {one["id"] for one in fake.live()} == {ours, others}


def test_a_cluster_of_this_laptop_is_named_also_when_nothing_of_it_runs(
    home: Path, vast: VastClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with StateFile("far-3").change() as state:  # as `ray up` leaves it
        state.head_tags = {}
    assert told(capsys)["elsewhere"] == ["far-3"]
    assert main(["vast", "cost"]) == 0
    assert "far-3: only what runs now is counted: its ledger lies on its head" in capsys.readouterr().out


def test_a_cluster_whose_ledger_is_on_its_head_is_counted_from_what_runs(
    home: Path, vast: VastClient, capsys: pytest.CaptureFixture[str]
) -> None:
    rent(vast, "midas/far-2/w2/aa")
    ledger_of(home, "far-2", on_head=False).ended(99, time.time(), "ray down")  # what a laptop writes
    costs = told(capsys)
    assert (costs["ledgers"], costs["elsewhere"]) == ([], ["far-2"])
    assert costs["today"] < 0.01
    assert main(["vast", "cost"]) == 0
    assert "far-2: only what runs now is counted: its ledger lies on its head; ray exec" in capsys.readouterr().out


def test_an_instance_that_is_gone_unseen_costs_no_more(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    ledger = ledger_of(home, "midas-1")
    ledger.rented(1, OFFER, 2.0, "midas/midas-1/w2/aa", now - 36000)
    ledger.reconcile([], now - 36000 + 60, 900)
    assert told(capsys)["ever"] == pytest.approx(2.0 * 960 / 3600)


@pytest.fixture
def two_jobs(home: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """A node of two hours at 1 $, and jobs on it in its second hour's halves; gives when it was rented."""
    begin = float(int(time.time())) - 86400
    ledger = ledger_of(home, "midas-1")
    ledger.rented(1, OFFER, 1.0, "midas/midas-1/w2/aa", begin)
    ledger.ended(1, begin + 7200, "idle")
    work = [
        {"job_id": "01000000", "node_id": NODE}, {"job_id": "02000000", "node_id": None},
        {"job_id": "03000000", "node_id": HEAD}, {"job_id": None, "node_id": NODE},
    ]  # fmt: skip
    answers = {
        "/api/jobs/": [
            job(2, begin + 5400, begin + 7200, "python jobs/train.py --gpus 1"),
            job(1, begin + 3600, begin + 5400, "python jobs/tune.py"),
            job(3, begin, None, "python jobs/collect.py"),
        ],
        "/api/v0/nodes": state({"node_id": HEAD, "is_head_node": True}, {"node_id": NODE, "is_head_node": False}),
        "/api/v0/actors": state(*work),
        "/api/v0/tasks": state({"job_id": "02000000", "node_id": NODE, "name": "train"}),
    }
    monkeypatch.setattr(Dashboard, "answers", answers)
    return begin


def test_jobs_on_rented_nodes_have_their_cost_and_those_on_the_head_none(
    two_jobs: float, dashboard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = told(capsys)
    assert [(one["id"], one["status"]) for one in costs["jobs"]] == [
        ("raysubmit_1", "SUCCEEDED"), ("raysubmit_2", "SUCCEEDED"),
    ]  # fmt: skip
    assert [one["dollars"] for one in costs["jobs"]] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert costs["idle"] == pytest.approx(1.0, abs=1e-3)
    assert sum(one["dollars"] for one in costs["jobs"]) + costs["idle"] == pytest.approx(costs["ever"])
    assert main(["vast", "cost", "--rows", "1", "--ray-dashboard", dashboard]) == 0
    out = capsys.readouterr().out
    assert "raysubmit_2" in out
    assert "raysubmit_1" not in out
    assert "2 jobs on rented nodes cost $1.00, the newest 1 shown; without a job, $1.00" in out
    assert "secret" not in out


def test_a_token_that_is_refused_is_said(
    two_jobs: float, dashboard: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dashboard, "token", "another")
    unknown = told(capsys)["jobs_unknown"]
    assert f"{dashboard} refuses the token: expected that of the cluster in RAY_AUTH_TOKEN or in the" in unknown
    assert TOKEN not in unknown


def test_an_answer_that_is_not_rays_is_said(
    two_jobs: float, dashboard: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Dashboard.answers, "/api/v0/nodes", {"data": {}})
    assert "nodes: not as documented" in told(capsys)["jobs_unknown"]
    monkeypatch.setitem(Dashboard.answers, "/api/jobs/", {"jobs": 1})
    assert "/api/jobs/: not as documented" in told(capsys)["jobs_unknown"]


def test_no_dashboard_and_bad_keys_are_one_line(
    two_jobs: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(capsys)["jobs_unknown"] == "no Ray dashboard answers at http://127.0.0.1:1 (ConnectError)"
    monkeypatch.setenv("VAST_API_KEY", "wrong")
    assert main(["vast", "cost"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "the API key is refused" in said.err
    assert main(["vast", "cost", "--ray-dashboard", "127.0.0.1:8265"]) == 2
    assert "--ray-dashboard" in capsys.readouterr().err


def test_on_a_head_the_key_is_what_ray_up_brought(
    home: Path, fake: FakeHandle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAST_API_KEY")
    assert main(["vast", "cost"]) == 1
    assert "no Vast.ai API key" in capsys.readouterr().err
    key = home / ".midas" / "vast_api_key"
    key.parent.mkdir()
    key.write_text(fake.api_key)
    key.chmod(0o600)
    assert told(capsys)["credit"] == 25.0
