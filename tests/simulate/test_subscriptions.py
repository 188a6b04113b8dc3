"""Requests over the WebSocket, and the venue's answers."""

import json

import pytest

from midas_ray.simulate.subscriptions import MOST_STREAMS, Subscriptions


def ask(subscriptions: Subscriptions, method: str, parameters: object, identity: int = 7) -> dict[str, object]:
    answer = subscriptions.request(json.dumps({"method": method, "params": parameters, "id": identity}))
    return json.loads(answer)


def test_subscribe_list_unsubscribe() -> None:
    subscriptions = Subscriptions(combined=True)
    assert ask(subscriptions, "SUBSCRIBE", ["btcusdt@trade", "nonsense@nothing"]) == {"result": None, "id": 7}
    assert ask(subscriptions, "LIST_SUBSCRIPTIONS", []) == {"result": ["btcusdt@trade", "nonsense@nothing"], "id": 7}
    assert ask(subscriptions, "UNSUBSCRIBE", ["nonsense@nothing", "never@subscribed"]) == {"result": None, "id": 7}
    assert list(subscriptions.names) == ["btcusdt@trade"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ('{"id":1}', 2),
        ('{"method":"DANCE","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
    ],
)
def test_bad_requests_are_answered_and_change_nothing(text: str, code: int) -> None:
    subscriptions = Subscriptions(combined=False)
    subscriptions.add(["btcusdt@trade"])
    assert json.loads(subscriptions.request(text))["error"]["code"] == code
    assert list(subscriptions.names) == ["btcusdt@trade"]


def test_at_most_1024_streams() -> None:
    subscriptions = Subscriptions(combined=False)
    assert "error" not in ask(subscriptions, "SUBSCRIBE", [f"s{i}@trade" for i in range(MOST_STREAMS)])
    assert "error" in ask(subscriptions, "SUBSCRIBE", ["one@more"])
    assert len(subscriptions.names) == MOST_STREAMS
