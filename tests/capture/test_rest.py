"""REST: weights, refusals in one line, symbols checked before anything is written."""

import re

import pytest

from midas_ray.capture.rest import MINUTE_NS, RestAnswer, RestClient, WeightBudget
from midas_ray.errors import UnknownSymbolError, UsageError, VenueError
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.venues import get_venue
from tests.capture.scripted import ScriptedExchange

FUTURES = get_venue("binance-futures")


def test_weight_is_counted_by_the_minute_and_waited_for() -> None:
    budget = WeightBudget(100)
    start_ns = 7 * MINUTE_NS + 20 * 10**9
    budget.take(50, start_ns)
    assert budget.wait_s(30, start_ns) == 0.0  # 80 of 100: the share that is used
    assert budget.wait_s(31, start_ns) == 40.0  # until the next minute
    budget.report(20, start_ns)
    assert budget.wait_s(60, start_ns) == 0.0  # the venue knows better
    assert budget.used(start_ns + MINUTE_NS) == 0
    budget.block(start_ns + 5 * 10**9)
    assert budget.wait_s(1, start_ns) == 5.0


async def test_limits_are_read_and_the_venues_count_is_followed() -> None:
    async with ScriptedExchange() as exchange, RestClient(FUTURES, exchange.url) as rest:
        await rest.check_symbols(["btcusdt"])
        assert rest.budget.limit == 1200
        answer = await rest.depth("btcusdt", 1000)
        assert (answer.status, answer.path) == (200, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        assert answer.sent_ns < answer.recv_ns
        assert rest.budget.used(answer.recv_ns) == 21


async def test_the_clocks_difference_is_measured() -> None:
    async with ScriptedExchange() as exchange, RestClient(FUTURES, exchange.url) as rest:
        assert abs(await rest.clock_offset_ms()) < 5000


@pytest.mark.parametrize("venue", ["binance-futures", "binance-spot"])
async def test_unknown_symbols_are_named(venue: str) -> None:
    async with (
        SimulatedExchange(["btcusdt"], venue=venue) as exchange,
        RestClient(get_venue(venue), exchange.url) as rest,
    ):
        await rest.check_symbols(["btcusdt"])
        with pytest.raises(UnknownSymbolError, match=f"{venue} does not list 'nopeusdt'"):
            await rest.check_symbols(["btcusdt", "nopeusdt"])


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


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (429, b"{}", "over the request weight limit"),
        (418, b'{"code":-1003,"msg":"IP banned until 1795374463713. Please"}', "banned"),
        (451, b"", "not served in this country"),
        (403, b"<html>", "firewall"),
        (400, b'{"code":-4021,"msg":"7 is not valid depth limit."}', "error -4021: 7 is not valid"),
        (502, b"<html>", "expected HTTP 200, found 502"),
    ],
)
def test_refusals_are_one_clear_line(status: int, body: bytes, said: str) -> None:
    rest = RestClient(FUTURES)
    line = rest.refusal(RestAnswer("/fapi/v1/depth?symbol=X", status, body, 0, 0, 0))
    assert line is not None
    assert said in line
    assert re.match(r"https://fapi.binance.com/fapi/v1/depth: ", line)
    assert "\n" not in line


def test_a_good_answer_is_no_refusal() -> None:
    assert RestClient(FUTURES).refusal(RestAnswer("/x", 200, b"{}", 0, 0, 0)) is None
