"""One WebSocket connection's subscriptions and the venue's answers to its requests. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

MOST_STREAMS = 1024


@dataclass(slots=True)
class Subscriptions:
    """What a connection gets: stream names in the order asked, in the combined envelope or raw.

    Names are taken as they come: the venue acks wrong-route and nonexistent ones too, and then sends nothing.
    """

    combined: bool
    names: dict[str, None] = field(default_factory=dict)

    def add(self, names: Iterable[str]) -> None:
        """Subscribe."""
        self.names.update(dict.fromkeys(name for name in names if name))

    def request(self, text: str) -> str:
        """Apply a client's request (SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS); gives the venue's answer."""
        try:
            message: Any = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            return _error(3, f"Invalid JSON: {error}", None)
        if not isinstance(message, dict) or "method" not in message:
            return _error(2, "Invalid request: missing field `method`", None)
        identity, parameters = message.get("id"), message.get("params", [])
        if not isinstance(parameters, list) or not all(isinstance(name, str) for name in parameters):
            return _error(2, "Invalid request: params must be an array of strings", identity)
        match message["method"]:
            case "SUBSCRIBE":
                if len(self.names.keys() | set(parameters)) > MOST_STREAMS:
                    return _error(2, f"Invalid request: more than {MOST_STREAMS} streams", identity)
                self.add(parameters)
                return _result(None, identity)
            case "UNSUBSCRIBE":
                for name in parameters:
                    self.names.pop(name, None)
                return _result(None, identity)
            case "LIST_SUBSCRIPTIONS":
                return _result(list(self.names), identity)
            case method:
                return _error(2, f"Invalid request: unknown variant `{method}`", identity)


def _result(result: list[str] | None, identity: Any) -> str:
    return msgspec.json.encode({"result": result, "id": identity}).decode()


def _error(code: int, text: str, identity: Any) -> str:
    return msgspec.json.encode({"error": {"code": code, "msg": text}, "id": identity}).decode()
