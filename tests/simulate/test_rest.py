"""REST answers: limits, weights, errors in Binance's form."""

import json

import pytest

from midas_ray.simulate.feed import SymbolFeed
from midas_ray.simulate.market import Market
from midas_ray.simulate.rest import RequestWeights, RestApi
from midas_ray.simulate.symbols import spec_of
from midas_ray.venues import get_venue

START_US = 1_767_571_200_000_000
NOW_MS = START_US // 1000 + 10_500
BTC = {"symbol": "BTCUSDT"}


def api_of(venue: str = "binance-futures", weight_limit: int | None = None) -> RestApi:
    spot = venue == "binance-spot"
    feeds = {
        symbol: SymbolFeed(Market(spec_of(symbol), 1, START_US, futures=not spot), START_US, spot=spot)
        for symbol in ("btcusdt", "ethusdt")
    }
    return RestApi(get_venue(venue), feeds, lambda: 0.5, weight_limit)


@pytest.mark.parametrize(("limit", "weight"), [("5", 2), ("50", 2), ("100", 5), ("500", 10), ("1000", 20), (None, 10)])
def test_futures_depth_has_its_levels_and_weight(limit: str | None, weight: int) -> None:
    answer = api_of().answer("/fapi/v1/depth", BTC | ({} if limit is None else {"limit": limit}), NOW_MS)
    body = json.loads(answer.body)
    assert answer.status == 200
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
    assert list(body) == ["lastUpdateId", "E", "T", "bids", "asks"]
    assert len(body["bids"]) == len(body["asks"]) == int(limit or 500)
    assert float(body["bids"][0][0]) < float(body["asks"][0][0])


@pytest.mark.parametrize(("limit", "weight", "levels"), [("100", 5, 100), ("1000", 50, 1000), ("9999", 250, None)])
def test_spot_depth(limit: str, weight: int, levels: int | None) -> None:
    answer = api_of("binance-spot").answer("/api/v3/depth", BTC | {"limit": limit}, NOW_MS)
    body = json.loads(answer.body)
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
    assert list(body) == ["lastUpdateId", "bids", "asks"]
    assert len(body["bids"]) == levels if levels else 1000 < len(body["bids"]) <= 5000


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/fapi/v1/depth", {"symbol": "FOOUSDT", "limit": "5"}, -1121),
        ("/fapi/v1/depth", {"symbol": "btcusdt"}, -1121),
        ("/fapi/v1/depth", {}, -1102),
        ("/fapi/v1/depth", BTC | {"limit": "7"}, -4021),
        ("/fapi/v1/depth", BTC | {"limit": "x"}, -1102),
        ("/fapi/v1/openInterest", {"symbol": "FOOUSDT"}, -1121),
    ],
)
def test_bad_requests_answer_in_binance_form(path: str, query: dict[str, str], code: int) -> None:
    answer = api_of().answer(path, query, NOW_MS)
    body = json.loads(answer.body)
    assert answer.status == 400
    assert body["code"] == code
    assert isinstance(body["msg"], str)


def test_weight_is_counted_per_minute_and_refused_with_429() -> None:
    api = api_of(weight_limit=45)
    query = BTC | {"limit": "1000"}
    assert [api.answer("/fapi/v1/depth", query, NOW_MS).status for _ in range(3)] == [200, 200, 429]
    refused = api.answer("/fapi/v1/time", {}, NOW_MS)
    assert refused.status == 429
    assert json.loads(refused.body)["code"] == -1003
    assert refused.headers["Retry-After"] == "50"  # the minute began 10.5 s ago
    assert refused.headers["X-MBX-USED-WEIGHT-1M"] == "61"
    later = api.answer("/fapi/v1/depth", query, NOW_MS + 60_000)
    assert (later.status, later.headers["X-MBX-USED-WEIGHT-1M"]) == (200, "20")


def test_weights_refuse_only_beyond_the_limit() -> None:
    weights = RequestWeights(limit=10)
    assert weights.take(10, NOW_MS)
    assert not weights.take(1, NOW_MS)


def test_exchange_info_agrees_with_what_is_simulated() -> None:
    api = api_of()
    body = json.loads(api.answer("/fapi/v1/exchangeInfo", {}, NOW_MS).body)
    (limit,) = body["rateLimits"]
    assert (limit["rateLimitType"], limit["interval"], limit["limit"]) == ("REQUEST_WEIGHT", "MINUTE", 2400)
    assert [symbol["symbol"] for symbol in body["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    filters = {entry["filterType"]: entry for entry in body["symbols"][0]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10"
    assert filters["LOT_SIZE"]["stepSize"] == "0.001"
    depth = json.loads(api.answer("/fapi/v1/depth", BTC, NOW_MS).body)
    assert all(px.endswith("0") for px, _ in depth["bids"] + depth["asks"])
    spot = api_of("binance-spot")
    assert len(json.loads(spot.answer("/api/v3/exchangeInfo", BTC, NOW_MS).body)["symbols"]) == 1
    assert json.loads(spot.answer("/api/v3/exchangeInfo", {"symbol": "FOO"}, NOW_MS).body)["code"] == -1121


def test_time_and_open_interest() -> None:
    api = api_of()
    assert json.loads(api.answer("/fapi/v1/time", {}, NOW_MS).body) == {"serverTime": NOW_MS}
    interest = json.loads(api.answer("/fapi/v1/openInterest", BTC, NOW_MS).body)
    assert interest["symbol"] == "BTCUSDT"
    assert float(interest["openInterest"]) > 0
    assert "/fapi/v1/openInterest" not in api_of("binance-spot").paths
