"""The ledger: sums by hand, what a crash leaves, two processes at once, and its comparison with the API's listing."""

import logging
import multiprocessing
import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.cloud.ledger import Ledger
from midas_ray.cloud.messages import Instance, Offer
from midas_ray.cloud.spending import (
    DAY_S,
    HOUR_S,
    Ended,
    Priced,
    Record,
    Rented,
    day_begin,
    fold,
    month_begin,
    spent,
)
from midas_ray.errors import StorageError

OFFER = Offer(id=7, machine_id=70, gpu_name="RTX 4090", num_gpus=2, gpu_ram_mb=24000, dph_total=0.5)
MIDNIGHT = day_begin(1_800_000_000.0)
LABEL = "midas/midas-1/w2/aa"


def listed(instance_id: int, **changes: float) -> Instance:
    fields = {"dph_total": 0.5, "start_date": MIDNIGHT, **changes}
    return Instance(id=instance_id, machine_id=70, label=LABEL, gpu_name="RTX 4090", num_gpus=2, **fields)


def rent(ledger: Ledger, instance_id: int, now: float, price: float = 0.5) -> None:
    ledger.rented(instance_id, OFFER, price, LABEL, now, 40.0)


def test_what_is_spent_by_hand(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    rent(ledger, 1, MIDNIGHT - 2 * HOUR_S, 0.6)
    rent(ledger, 2, MIDNIGHT + HOUR_S, 0.4)
    ledger.priced(2, 0.8, MIDNIGHT + 2 * HOUR_S)
    ledger.ended(1, MIDNIGHT + 3 * HOUR_S, "idle")
    assert ledger.spent_on_day(MIDNIGHT + 4 * HOUR_S) == pytest.approx(3 * 0.6 + 0.4 + 2 * 0.8)
    assert spent(ledger.intervals(), MIDNIGHT - DAY_S, MIDNIGHT) == pytest.approx(2 * 0.6)
    first, second = ledger.intervals()
    assert (first.ended, first.why, second.ended, second.price) == (MIDNIGHT + 3 * HOUR_S, "idle", None, 0.8)
    assert (first.rented.offer, first.rented.machine, first.rented.gpu, first.rented.disk_gb) == (
        7, 70, "2 x RTX 4090", 40.0,
    )  # fmt: skip
    assert stat.S_IMODE((tmp_path / "spend.jsonl").stat().st_mode) == 0o600


def test_a_ledger_that_was_never_written_has_cost_nothing(tmp_path: Path) -> None:
    assert Ledger(tmp_path).spent_on_day(MIDNIGHT) == 0
    assert list(tmp_path.iterdir()) == []


def test_lines_that_say_what_is_known_change_nothing() -> None:
    rented = Rented(id=1, at=0, price=1.0, label="", machine=1, gpu="")
    again = Rented(id=1, at=50, price=9.0, label="", machine=1, gpu="")
    lines: list[Record] = [
        Ended(id=1, at=-5, why="unknown"), rented, again,
        Ended(id=1, at=3600, why="first"), Ended(id=1, at=9999, why="second"), Priced(id=1, at=5000, price=7.0),
    ]  # fmt: skip
    (interval,) = fold(lines)
    assert (interval.ended, interval.why, interval.cost(0, 1e6)) == (3600, "first", 1.0)


def test_a_torn_last_line_is_passed_over_said_and_written_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rent(Ledger(tmp_path), 1, MIDNIGHT)
    path = tmp_path / "spend.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    with caplog.at_level(logging.WARNING):
        ledger = Ledger(tmp_path)
        assert len(ledger.intervals()) == 1
        ledger.ended(1, MIDNIGHT + HOUR_S, "idle")
        assert ledger.spent_on_day(MIDNIGHT + 2 * HOUR_S) == pytest.approx(0.5)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "line 2 is not whole" in said[0]
    assert path.read_bytes().startswith(whole + whole[:40] + b"\n{")


@given(st.integers(0, 400))
def test_cut_anywhere_it_tells_of_what_was_whole(cut: int) -> None:
    lines: list[Record] = [
        Rented(id=1, at=0, price=1, label="", machine=1, gpu=""),
        Rented(id=2, at=0, price=1, label="", machine=2, gpu=""),
        Ended(id=1, at=3600, why="idle"),
    ]
    content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)[:cut]
    ledger = Ledger(Path("/nonexistent"))
    assert fold(ledger._whole(content)) == fold(lines[: sum(content.startswith(p) for p in prefixes(lines))])


def prefixes(lines: list[Record]) -> list[bytes]:
    """What has to be there for the first, the second, ... line to be whole."""
    encoded = [msgspec.json.encode(line) for line in lines]
    return [b"\n".join(encoded[: n + 1]) for n in range(len(encoded))]


def _append_many(folder: str, first: int) -> None:
    ledger = Ledger(Path(folder))
    for number in range(first, first + 100):
        rent(ledger, number, MIDNIGHT)


def test_two_processes_append_at_once_and_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(str(tmp_path), first)) for first in (0, 1000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    ids = {interval.id for interval in Ledger(tmp_path).intervals()}
    assert ids == set(range(100)) | set(range(1000, 1100))


def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    (tmp_path / "spend.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"spend\.jsonl: .*No space left on device.*make room"):
        rent(ledger, 1, MIDNIGHT)


def test_what_the_ledger_lacks_is_taken_from_the_listing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    now = MIDNIGHT + 2 * HOUR_S
    (added,) = ledger.reconcile([listed(5)], now, 900)
    assert isinstance(added, Rented)
    assert (added.at, added.price, added.label, added.gpu) == (MIDNIGHT, 0.5, LABEL, "2 x RTX 4090")
    assert ledger.spent_on_day(now) == pytest.approx(1.0)
    assert ledger.reconcile([listed(5)], now + 5, 900) == []


def test_what_is_gone_ends_when_it_may_have_ended_at_the_latest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    rent(ledger, 1, MIDNIGHT)
    ledger.reconcile([listed(1)], MIDNIGHT + HOUR_S, 900)
    (ended,) = Ledger(tmp_path).reconcile([], MIDNIGHT + 5 * HOUR_S, 900)  # the head was off for four hours
    assert ended == Ended(id=1, at=MIDNIGHT + HOUR_S + 900, why="the API does not list it any more")
    rent(ledger, 2, MIDNIGHT + 5 * HOUR_S)
    assert ledger.reconcile([], MIDNIGHT + 5 * HOUR_S + 60, 900) == []  # new ones are listed late
    (ended,) = ledger.reconcile([], MIDNIGHT + 5 * HOUR_S + 100, 900)
    assert ended.at == MIDNIGHT + 5 * HOUR_S + 100


def test_another_price_counts_from_when_it_is_seen(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    rent(ledger, 1, MIDNIGHT)
    assert ledger.reconcile([listed(1, dph_total=0.7)], MIDNIGHT + HOUR_S, 900) == [
        Priced(id=1, at=MIDNIGHT + HOUR_S, price=0.7)
    ]
    assert ledger.reconcile([listed(1, dph_total=0.7)], MIDNIGHT + HOUR_S + 5, 900) == []
    assert ledger.spent_on_day(MIDNIGHT + 2 * HOUR_S) == pytest.approx(1.2)


def test_what_is_listed_long_after_its_end_still_costs(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    rent(ledger, 1, MIDNIGHT)
    ledger.ended(1, MIDNIGHT + HOUR_S, "ray down")
    assert ledger.reconcile([listed(1)], MIDNIGHT + HOUR_S + 20, 900) == []
    ledger.reconcile([listed(1)], MIDNIGHT + HOUR_S + 120, 900)
    assert ledger.spent_on_day(MIDNIGHT + 2 * HOUR_S) == pytest.approx(1.0)


def test_months_begin_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    assert month_begin(1_798_761_599.0) == 1_796_083_200.0  # 2026-12-31T23:59:59 -> 2026-12-01
    assert month_begin(1_798_761_600.0) == 1_798_761_600.0  # 2027-01-01
    assert os.environ["TZ"]
