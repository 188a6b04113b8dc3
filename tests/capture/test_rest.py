"""REST: limits kept, refusals told apart, symbols checked before anything is written."""

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from midas_ray.capture.limits import Limits
from midas_ray.capture.refusal import refusal_of
from midas_ray.capture.rest import RestClient, TransientVenueError
from midas_ray.capture.session import check_start
from midas_ray.errors import GeoBlockedError, UnknownSymbolError, UsageError, VenueError
from midas_ray.settings import Collect
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.venues import get_venue
from tests.capture.scripted import ScriptedExchange

FUTURES = get_venue("binance-futures")
Handler = Callable[[web.Request], web.Response]


@asynccontextmanager
async def serving(routes: dict[str, Handler]) -> AsyncIterator[str]:
    """A server of these paths; gives its URL."""

    def shell(handler: Handler) -> Any:
        async def answer(request: web.Request) -> web.Response:
            return handler(request)

        return answer

    application = web.Application()
    for path, handler in routes.items():
        application.router.add_get(path, shell(handler))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def listing(name: str, status: str = "TRADING", quote: str = "USDT", kind: str | None = "PERPETUAL") -> dict[str, Any]:
    """An entry of exchangeInfo, its filters in an unusual order."""
    filters = [
        {"filterType": "MARKET_LOT_SIZE", "stepSize": "7"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL"},
        {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
    ]
    entry: dict[str, Any] = {"symbol": name, "status": status, "quoteAsset": quote, "filters": filters}
    return entry if kind is None else entry | {"contractType": kind, "deliveryDate": 4133404800000}


async def test_limits_are_read_and_the_venues_count_is_followed() -> None:
    async with ScriptedExchange() as exchange, RestClient(FUTURES, exchange.url) as rest:
        await rest.check_symbols(["btcusdt"])
        assert (await rest.limits.state()).weight_limit == 960
        answer = await rest.get(FUTURES.depth_path, 20, symbol="BTCUSDT", limit=1000)
        assert (answer.status, answer.path) == (200, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        assert answer.sent_ns < answer.recv_ns
        assert 0 < answer.sent_mono_ns < answer.mono_ns
        assert answer.refusal is None
        assert rest.used_weight == 21
        assert (await rest.limits.state()).used_weight == 21


async def test_the_clocks_difference_is_measured() -> None:
    ahead_ms = 7000

    def late(_request: web.Request) -> web.Response:
        server_ms = time.time_ns() // 10**6 + ahead_ms
        return web.json_response({"serverTime": server_ms}, headers={"X-MBX-USED-WEIGHT-1M": "500"})

    async with serving({FUTURES.time_path: late}) as url, RestClient(FUTURES, url) as rest:
        sample = await rest.clock()
        assert sample.round_trip_ms > 0
        assert abs(sample.offset_ms - ahead_ms) <= sample.round_trip_ms / 2 + 0.5
        assert (await rest.limits.state()).used_weight == 500  # other programs' weight, too


@pytest.mark.parametrize("venue", ["binance-futures", "binance-spot"])
async def test_all_unknown_symbols_are_named_in_one_line(venue: str) -> None:
    async with (
        SimulatedExchange(["btcusdt"], venue=venue) as exchange,
        RestClient(get_venue(venue), exchange.url) as rest,
    ):
        await rest.check_symbols(["btcusdt"])
        with pytest.raises(UnknownSymbolError, match=f"{venue} does not list 'nopeusdt', 'neverusdt'; check"):
            await rest.check_symbols(["btcusdt", "nopeusdt", "neverusdt"])


async def test_spot_is_asked_by_name_and_for_all_where_it_knows_one_not() -> None:
    spot, asked = get_venue("binance-spot"), []

    def info(request: web.Request) -> web.Response:
        asked.append(request.query.get("symbols"))
        if "NOPEUSDT" in request.query.get("symbols", ""):
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        return web.json_response({"rateLimits": [], "symbols": [listing("BTCUSDT", kind=None)]})

    async with serving({spot.exchange_info_path: info}) as url, RestClient(spot, url) as rest:
        assert set(await rest.contracts(["btcusdt"])) == {"btcusdt"}
        assert set(await rest.contracts(["nopeusdt", "btcusdt"])) == {"btcusdt"}
    assert asked == ['["BTCUSDT"]', '["NOPEUSDT","BTCUSDT"]', None]


async def test_terms_are_found_by_filter_type() -> None:
    def info(request: web.Request) -> web.Response:
        assert not request.query  # futures tell of all
        return web.json_response({"rateLimits": [], "symbols": [listing("BTCUSDT"), listing("OLDUSDT", "SETTLING")]})

    async with serving({FUTURES.exchange_info_path: info}) as url, RestClient(FUTURES, url) as rest:
        found = await rest.contracts(["btcusdt", "oldusdt", "nopeusdt"])
    assert set(found) == {"btcusdt", "oldusdt"}
    contract = found["btcusdt"]
    assert (contract.tick_size, contract.step_size) == ("0.10", "0.001")
    assert (contract.contract_type, contract.delivery_ms) == ("PERPETUAL", 4133404800000)
    assert contract.trading
    assert not found["oldusdt"].trading


async def test_the_most_traded_are_trading_perpetuals_in_usdt() -> None:
    listed = [
        *(listing("BTCUSDT"), listing("ETHUSDT"), listing("SOLUSDT")),
        *(listing("OLDUSDT", "SETTLING"), listing("BTCUSDC", quote="USDC")),
        listing("BTCUSDT_261225", kind="CURRENT_QUARTER"),
    ]
    values = {"SOLUSDT": "9.55555555", "BTCUSDT": "1000.0", "ETHUSDT": "200"}
    values |= dict.fromkeys(["OLDUSDT", "BTCUSDC", "BTCUSDT_261225"], "99999")
    routes: dict[str, Handler] = {
        FUTURES.exchange_info_path: lambda _: web.json_response({"rateLimits": [], "symbols": listed}),
        FUTURES.tickers_path: lambda _: web.json_response(
            [{"symbol": name, "quoteVolume": value, "count": 1} for name, value in values.items()]
        ),
    }
    async with serving(routes) as url:
        async with RestClient(FUTURES, url) as rest:
            assert await rest.top_symbols(2) == ("btcusdt", "ethusdt")
            assert await rest.top_symbols(50) == ("btcusdt", "ethusdt", "solusdt")
        settings = Collect(symbols="top:1", exchange_url=url)  # type: ignore[arg-type]
        assert await check_start(settings, settings.symbols) == ("btcusdt",)
        assert await check_start(settings, ("top:2",)) == ("btcusdt", "ethusdt")
        values.clear()
        async with RestClient(FUTURES, url) as rest:
            with pytest.raises(VenueError, match="expected symbols in USDT that are traded, found none"):
                await rest.top_symbols(2)


async def test_an_unreachable_exchange_is_one_line() -> None:
    async with ScriptedExchange() as exchange:
        url = exchange.url
    async with RestClient(FUTURES, url) as rest:
        with pytest.raises(VenueError, match=r"cannot reach the exchange \(connection refused\); check --exchange-url"):
            await rest.check_symbols(["btcusdt"])
    async with RestClient(FUTURES, "http://no-such-host.invalid") as rest:
        with pytest.raises(VenueError, match="cannot reach the exchange"):
            await rest.check_symbols(["btcusdt"])


@pytest.mark.parametrize("url", ["foo", "ws://x:1", "http://", "127.0.0.1:80"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"--exchange-url: expected http://HOST:PORT, found"):
        RestClient(FUTURES, url)


NOW_NS = 1_795_374_400_000 * 10**6


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "wait_s", "said"),
    [
        (429, {}, b"{}", "limit", 60.0, "over the request weight limit"),
        (429, {"Retry-After": "17"}, b"{}", "limit", 17.0, "calling again in 17 s"),
        (418, {}, b'{"code":-1003,"msg":"IP banned until 1795374463500. Please"}', "ban", 63.5, "banned"),
        (418, {"Retry-After": "200"}, b'{"msg":"banned until 1795374463500."}', "ban", 200.0, "for 200 s more"),
        (418, {}, b"", "ban", 120.0, "for 120 s more"),
        (418, {}, b"banned until 1795374300000", "ban", 120.0, "for 120 s more"),
        (418, {}, b"banned until 1895374300000", "ban", 3 * 86400.0, "banned"),
        (451, {}, b"", "geo", None, "not served in this country"),
        (403, {}, b"<html>", "firewall", 15.0, "firewall"),
        (400, {}, b'{"code":-4021,"msg":"7 is not valid depth limit."}', "other", None, "error -4021: 7 is not valid"),
        (502, {}, b"<html>", "server", None, "expected HTTP 200, found 502"),
        (404, {}, b"", "other", None, "expected HTTP 200, found 404"),
    ],
)
def test_refusals_are_told_apart_in_one_clear_line(
    status: int, headers: dict[str, str], body: bytes, kind: str, wait_s: float | None, said: str
) -> None:
    refusal = refusal_of(status, headers, body, "https://x/depth", NOW_NS)
    assert (refusal.kind, refusal.wait_s) == (kind, wait_s)
    assert said in refusal.text
    assert re.match(r"https://x/depth: [^\n]+$", refusal.text)


@pytest.mark.parametrize(
    ("status", "error", "blocks"),
    [
        (418, VenueError, "both"),
        (429, VenueError, "requests"),
        (403, VenueError, "requests"),
        (451, GeoBlockedError, ""),
    ],
)
async def test_a_refusal_is_raised_and_holds_back_all_that_share_the_address(
    status: int, error: type[VenueError], blocks: str
) -> None:
    limits = Limits(2400, 300)
    before_ns = time.time_ns()
    async with (
        serving({FUTURES.time_path: lambda _: web.Response(status=status, headers={"Retry-After": "40"})}) as url,
        RestClient(FUTURES, url, limits) as rest,
    ):
        with pytest.raises(error) as raised:
            await rest.clock()
    assert not isinstance(raised.value, TransientVenueError)
    state = await limits.state()
    wait_s = 15 if status == 403 else 40
    if blocks:
        assert state.blocked_until_ns is not None
        assert wait_s * 10**9 <= state.blocked_until_ns - before_ns <= (wait_s + 10) * 10**9
        assert state.reason == str(raised.value)
    else:
        assert state.blocked_until_ns is None
    assert (limits._connection_wait_ns(1) > 0) == (blocks == "both")


def test_a_firewall_that_goes_on_is_called_ever_more_rarely() -> None:
    refusal = refusal_of(403, {}, b"", "x")
    assert [refusal.wait_again_s(times) for times in (1, 2, 3, 5, 6, 100)] == [15, 30, 60, 240, 300, 300]
    assert refusal_of(418, {"Retry-After": "40"}, b"", "x").wait_again_s(5) == 40
    assert refusal_of(503, {}, b"", "x").wait_again_s(5) is None


async def test_server_errors_are_tried_again() -> None:
    answers = [502, 200]

    def info(_request: web.Request) -> web.Response:
        return web.json_response({"rateLimits": [], "symbols": [listing("BTCUSDT")]}, status=answers.pop(0))

    async with serving({FUTURES.exchange_info_path: info}) as url, RestClient(FUTURES, url) as rest:
        assert set(await rest.contracts(["btcusdt"])) == {"btcusdt"}
    assert answers == []
