"""Faults of connections, met by two plain clients: what happens to the one, and that the other has it all."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect

from midas_ray.simulate.faults import Fault, FaultScript, Kind
from midas_ray.simulate.faults_frames import GARBAGE
from tests.simulate.plain_client import (
    PlainClient,
    Session,
    chain_is_whole,
    check_nothing_lost,
    faulty,
    get,
    snapshot,
    until,
)

DEPTH = "btcusdt@depth@100ms"


async def meet(kind: Kind, *actions: str, clients: int = 2, **fields: Any) -> tuple[Session, Session, PlainClient]:
    """(the connection that was taken, the other, the client of the first), after checking that nothing was lost."""
    options = {key: fields.pop(key) for key in ("subscribe",) if key in fields}
    fault = Fault(kind=kind, at_s=0.6, **{"duration_s": 0.7, **fields})
    async with faulty(fault, clients=clients, **options) as (exchange, plain):
        await asyncio.sleep(0.3)
        first = await snapshot(exchange)
        await until(exchange, "start", *(actions or ("end",)))
    (start,) = [entry for entry in exchange.fault_log.entries if entry["action"] == "start"]
    (number,) = start["connections"]
    check_nothing_lost(exchange, plain, first)
    hurt, other = plain[0], plain[1]
    if not is_hurt(kind, hurt):
        hurt, other = other, hurt
    assert number in (1, 2)
    assert chain_is_whole(other.messages())
    assert len(other.sessions) == 1
    return hurt.sessions[0], other.sessions[0], hurt


def is_hurt(kind: Kind, client: PlainClient) -> bool:
    messages = client.messages()
    numbers = [message["u"] for message in messages]
    if len(client.sessions) > 1:
        return True
    if kind is Kind.DUPLICATE:
        return len(set(numbers)) < len(numbers)
    if kind is Kind.MALFORMED:
        return any(frame in GARBAGE for frame in client.sessions[0].frames)
    return not chain_is_whole(messages)


async def test_dropped() -> None:
    hurt, other, _ = await meet(Kind.DROP, share=0.5, stream="depth")
    missing = {m["u"] for m in other.messages()} - {m["u"] for m in hurt.messages()}
    assert 1 <= len(missing) <= 8
    assert not chain_is_whole(hurt.messages())


async def test_duplicated() -> None:
    hurt, _, _ = await meet(Kind.DUPLICATE)
    twice = [a for a, b in zip(hurt.frames, hurt.frames[1:], strict=False) if a == b]
    assert any("depthUpdate" in str(frame) for frame in twice)


async def test_reordered() -> None:
    hurt, other, _ = await meet(Kind.REORDER, stream="depth")
    numbers = [m["u"] for m in hurt.messages()]
    assert numbers != sorted(numbers)
    # Both have the same; the last may be under way.
    assert set(numbers) ^ {m["u"] for m in other.messages()} <= {max(numbers), max(m["u"] for m in other.messages())}


async def test_malformed() -> None:
    hurt, _, _ = await meet(Kind.MALFORMED)
    assert chain_is_whole(hurt.messages())
    assert sum(frame in GARBAGE for frame in hurt.frames) > 5


async def test_truncated() -> None:
    hurt, _, _ = await meet(Kind.TRUNCATED)
    broken = 0
    for frame in hurt.frames:
        try:
            json.loads(frame)
        except ValueError:
            broken += 1
    assert broken > 5
    assert not chain_is_whole(hurt.messages())


async def test_one_stream_silent_while_others_run() -> None:
    hurt, other, _ = await meet(Kind.SILENT, stream="depth")
    (a, b) = next((a, b) for a, b in zip(hurt.messages(), hurt.messages()[1:], strict=False) if b["pu"] != a["u"])
    assert b["E"] - a["E"] >= 600
    during = [m for m in hurt.messages("btcusdt@bookTicker") if a["E"] < m["E"] < b["E"]]
    assert len(during) > 3
    assert len(other.messages()) > len(hurt.messages())


async def test_half_open() -> None:
    hurt, other, client = await meet(Kind.HALF_OPEN)
    assert hurt.code == 1006
    assert hurt.messages()[-1]["E"] + 600 < other.messages()[-1]["E"]
    assert client.sessions[1].messages()


async def test_half_open_answers_no_ping() -> None:
    fault = Fault(kind=Kind.HALF_OPEN, at_s=0.3, duration_s=5, connection="all")
    async with faulty(fault, clients=0) as (exchange, _):
        url = exchange.url.replace("http", "ws") + f"/public/stream?streams={DEPTH}"
        async with connect(url, max_queue=None, ping_interval=None, close_timeout=0.1) as socket:
            await asyncio.wait_for(await socket.ping(), 5)
            await until(exchange, "start", more_s=0.1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(await socket.ping(), 0.4)
            assert socket.close_code is None


async def test_cut() -> None:
    hurt, _, client = await meet(Kind.CUT)
    assert hurt.code in (1001, 1006)
    assert client.sessions[1].messages()


async def test_server_shutdown_event_then_close() -> None:
    hurt, _, client = await meet(Kind.SERVER_SHUTDOWN)
    events = [json.loads(frame) for frame in hurt.frames if b"serverShutdown" in str(frame).encode()]
    assert [(event["stream"], event["data"]["e"]) for event in events] == [("!serverShutdown", "serverShutdown")]
    assert hurt.messages()[-1]["E"] > events[0]["data"]["E"] + 300  # frames went on until the close
    assert hurt.code == 1001
    assert client.sessions[1].messages()


async def test_ack_without_data() -> None:
    _, _, client = await meet(Kind.ACK_WITHOUT_DATA, "hit", subscribe=True)
    assert client.sessions[1].frames == ['{"result":null,"id":1}']


async def test_wrong_route_leaves_one_stream_silent() -> None:
    _, _, client = await meet(Kind.WRONG_ROUTE, "hit", stream="depth")
    assert not client.sessions[1].messages()
    assert client.sessions[1].messages("btcusdt@bookTicker")


async def test_accept_then_close() -> None:
    _, _, client = await meet(Kind.ACCEPT_CLOSE)
    assert [(session.frames, session.code) for session in client.sessions[1:4]] == [([], 1001)] * 3
    assert client.sessions[-1].messages()


@pytest.mark.parametrize("status", [418, 429, 403, 451, 503])
async def test_handshake_refused(status: int) -> None:
    _, _, client = await meet(Kind.HANDSHAKE_REFUSED, status=status, duration_s=0.3)
    refused = [session for session in client.sessions if session.status is not None]
    assert {session.status for session in refused} == {status}
    assert client.sessions[-1].messages()
    if status == 418:
        assert '"code":-1003' in refused[0].body
        assert "banned until 17675712" in refused[0].body


async def test_windows_of_one_connection_differ_and_its_chain_is_right() -> None:
    async with faulty(Fault(kind=Kind.OVERLAP, at_s=0.6)) as (exchange, plain):
        await asyncio.sleep(0.3)
        first = await snapshot(exchange)
        await until(exchange, "start", more_s=1.0)
    check_nothing_lost(exchange, plain, first)
    both = [client.messages() for client in plain]
    assert all(chain_is_whole(messages) and len(messages) > 8 for messages in both)
    ends = [{m["u"] for m in messages} for messages in both]
    assert len(ends[0] - ends[1]) > 5
    assert len(ends[1] - ends[0]) > 5
    levels = [sum(len(m["b"]) + len(m["a"]) for m in messages) for messages in both]
    assert min(levels) > 50


async def test_a_fault_on_one_connection_spares_the_last() -> None:
    faults = [Fault(kind=kind, at_s=0.3) for kind in (Kind.CUT, Kind.DROP, Kind.HALF_OPEN, Kind.SILENT)]
    async with faulty(*faults, clients=1) as (exchange, (client,)):
        await asyncio.sleep(1.5)
    assert exchange.fault_log.entries == []
    assert len(client.sessions) == 1
    assert chain_is_whole(client.messages())


async def test_faults_on_all_reach_all() -> None:
    async with faulty(Fault(kind=Kind.CUT, at_s=0.4, connection="all")) as (exchange, plain):
        await until(exchange, "end")
    assert exchange.fault_log.entries[0]["connections"] == [1, 2]
    assert [client.sessions[0].code in (1001, 1006) for client in plain] == [True, True]


async def test_connections_live_as_long_as_they_may() -> None:
    async with faulty(clients=1, lifetime_s=0.5) as (_, (client,)):
        await asyncio.sleep(1.4)
    assert [session.code for session in client.sessions[:2]] == [1001, 1001]
    assert len(client.sessions) == 3


async def test_what_is_done_is_on_disk(tmp_path: Any) -> None:
    async with faulty(Fault(kind=Kind.DROP, at_s=0.4, duration_s=0.3), truth=tmp_path) as (exchange, _):
        await until(exchange, "end")
        await get(exchange, "/fapi/v1/time")
        entries = [json.loads(line) for line in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert entries == exchange.fault_log.entries
    assert [(entry["kind"], entry["action"]) for entry in entries] == [("drop", "start"), ("drop", "end")]
    assert entries[1]["frames"] > 0
    assert entries[0]["t"] >= 0.4
    assert exchange.faults_done


async def test_a_random_script_loses_nothing_while_one_is_up() -> None:
    script = FaultScript.random(11, 14, 6.0, ["btcusdt"], start_s=0.5)
    async with faulty(script=script, patience_s=0.6) as (exchange, plain):
        await asyncio.sleep(0.3)
        first = await snapshot(exchange)
        async with asyncio.timeout(50):
            while not exchange.faults_done:
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
    check_nothing_lost(exchange, plain, first)
    done = exchange.fault_log.count()
    assert sum(done.values()) == 14
    assert exchange.fault_log.count("end") == done
    assert not chain_is_whole(plain[0].messages())
