"""What a collector actor does when its group cannot run: inside this process, with a group that fails as told."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midas_ray.capture import actor as actor_module
from midas_ray.capture.actor import GEO_BLOCK_S, CollectorActor
from midas_ray.capture.desired import write_plan
from midas_ray.capture.groups import Plan, actor_name, add_symbols, shared_settings
from midas_ray.capture.health import Health
from midas_ray.errors import GeoBlockedError, StorageError, UsageError, VenueError
from midas_ray.settings import Collect
from tests.capture.running import until

pytestmark = pytest.mark.usefixtures("ray_local")


class Script:
    """Makes groups whose runs end as `ends` says, one after the other, then only when stopped."""

    def __init__(self, ends: list[Exception]) -> None:
        self.ends = ends
        self.runs = 0
        self.symbols: dict[str, None] = {}
        self.refused: dict[str, Exception] = {}
        self.at_the_end: Exception | None = None

    def __call__(self, *_arguments: Any, **_named: Any) -> "ScriptedGroup":
        self.symbols = {}
        return ScriptedGroup(self)


class ScriptedGroup:
    """Has the interface of `Group`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.symbols = script.symbols
        self.sealed: list[Path] = []
        self._stopping = asyncio.Event()

    async def add(self, symbol: str) -> None:
        if symbol in self.script.refused:
            raise self.script.refused[symbol]
        self.symbols[symbol] = None

    async def remove(self, symbol: str, _reason: str) -> None:
        del self.symbols[symbol]

    async def run(self, **_named: bool) -> None:
        self.script.runs += 1
        if self.script.ends:
            raise self.script.ends.pop(0)
        await self._stopping.wait()
        self.sealed.append(Path("sealed"))
        if self.script.at_the_end is not None:
            raise self.script.at_the_end

    def stop(self, _reason: str) -> None:
        self._stopping.set()

    def health(self, symbol: str) -> Health:
        if symbol not in self.symbols:
            raise UsageError(symbol)
        return Health(symbol=symbol, state="live", pid=0)

    def healths(self) -> list[Health]:
        return [self.health(symbol) for symbol in self.symbols]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[CollectorActor, Script]]:
    """Starts an actor of aa and bb whose group ends as told."""
    write_plan(tmp_path, add_symbols(Plan(), ["aa", "bb"], shared_settings(Collect())))

    def start(*ends: Exception) -> tuple[CollectorActor, Script]:
        group = Script(list(ends))
        monkeypatch.setattr(actor_module, "Group", group)
        return CollectorActor("binance-futures-1", str(tmp_path)), group

    return start


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the actor makes; they take no time."""
    made: list[float] = []

    async def pause(_self: CollectorActor, seconds: float) -> None:
        made.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(CollectorActor, "_pause", pause)
    return made


async def test_a_geo_block_is_asked_again_after_ten_minutes(begin: Any, pauses: list[float]) -> None:
    actor, group = begin(GeoBlockedError("not served here"), VenueError("no answer"))
    await until(lambda: group.runs == 3 and len(group.symbols) == 2, "a third run")
    assert pauses[0] == GEO_BLOCK_S == 600
    assert 0.5 <= pauses[1] <= 31
    assert [health.state for health in await actor.healths()] == ["live", "live"]
    assert await actor.stop("over") == ["sealed"]


async def test_a_geo_block_is_shown_and_does_not_hold_up_the_end(begin: Any) -> None:
    actor, group = begin(GeoBlockedError("not served here"))
    await until(lambda: actor._failure is not None, "the failure")
    healths = await actor.healths()
    assert [(health.symbol, health.state, health.error) for health in healths] == [
        ("aa", "failed", "not served here"),
        ("bb", "failed", "not served here"),
    ]
    async with asyncio.timeout(30):
        assert await actor.stop("over") == []
    assert group.runs == 1


async def test_what_could_not_be_written_at_the_end_is_told(begin: Any) -> None:
    actor, group = begin()
    await until(lambda: len(group.symbols) == 2, "both symbols")
    assert await actor.lost() is None
    group.at_the_end = StorageError("no space left on device; 53 lines could not be written and are lost")
    await actor.stop("over")
    assert await actor.lost() == "no space left on device; 53 lines could not be written and are lost"


async def test_a_refused_symbol_does_not_touch_the_others_and_is_tried_again(
    begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_module, "ROUND_S", 0.01)
    actor, group = begin()
    group.refused["bb"] = UsageError("bb: a collector already writes")
    await until(lambda: "bb" in actor._refused, "the refusal")
    aa, bb = await actor.healths()
    assert (aa.state, bb.state, bb.error) == ("live", "failed", "bb: a collector already writes")
    group.refused.clear()
    await until(lambda: "bb" in group.symbols, "bb taken on")
    assert [health.state for health in await actor.healths()] == ["live", "live"]
    assert group.runs == 1
    await actor.stop("over")


async def test_a_crash_is_shown_and_ends_the_process(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(actor_module, "CRASH_PAUSE_S", 0.0)
    actor, group = begin(ZeroDivisionError("a defect"))
    await until(lambda: bool(codes), "the end of the process")
    assert codes == [1]
    assert group.runs == 1
    (health, _) = await actor.healths()
    assert health.state == "failed"
    assert health.error == "the collector crashed (ZeroDivisionError: a defect) and is started again"


async def test_a_collector_without_symbols_waits_to_be_ended(begin: Any, pauses: list[float], tmp_path: Path) -> None:
    write_plan(tmp_path, Plan())
    actor, group = begin()
    await until(lambda: len(pauses) > 1, "a pause")
    assert await actor.healths() == []
    assert await actor.stop("over") == []
    assert group.runs == 0


def test_collectors_of_other_folders_have_other_names(tmp_path: Path) -> None:
    name = actor_name(tmp_path, "binance-futures-1")
    assert name.startswith("collector:binance-futures-1.")
    assert name == actor_name(tmp_path, "binance-futures-1") != actor_name(tmp_path / "other", "binance-futures-1")
