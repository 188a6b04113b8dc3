"""An exchange that knows what its clients have received: a frame counts once the pong to a later ping has come back."""

import asyncio
import json
import time

from aiohttp import WSMsgType, web

from tests.capture.scripted import SYMBOL, ScriptedExchange


class WitnessExchange(ScriptedExchange):
    """Sends prints and depth events to every connection of /public and remembers them.

    sent: the texts, each sent to every connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []
        self._trade_id = 500
        self._pongs: dict[bytes, asyncio.Event] = {}

    async def say(self, text: str, only: int | None = None) -> None:
        await super().say(text, only)
        self.sent.append(text)

    async def print(self) -> None:
        """One print."""
        self._trade_id += 1
        now_ms = time.time_ns() // 10**6
        data = {
            **{"e": "trade", "E": now_ms, "T": now_ms, "s": "BTCUSDT", "t": self._trade_id},
            **{"p": "100.1", "q": "0.5", "X": "MARKET", "m": False},
        }
        await self.say(json.dumps({"stream": f"{SYMBOL}@trade", "data": data}, separators=(",", ":")))

    async def busy(self, frames: int) -> None:
        """So many frames, as fast as they go."""
        for at in range(frames):
            if at % 3:
                await self.print()
            else:
                await self.depth({"99.9": str(1 + at)}, {})

    async def received(self, timeout_s: float = 20.0) -> None:
        """Returns once every connection of /public has received all that was sent. Raises TimeoutError."""
        waiting = []
        for at, socket in enumerate(self._public):
            token = f"{time.monotonic_ns()}-{at}".encode()
            self._pongs[token] = asyncio.Event()
            await socket.ping(token)
            waiting.append(self._pongs[token].wait())
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*waiting)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.connections += 1
        if request.match_info["route"] == "public":
            self._public.append(socket)
        async for message in socket:
            if message.type == WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type == WSMsgType.PONG and (pong := self._pongs.get(bytes(message.data))):
                pong.set()
        if socket in self._public:
            self._public.remove(socket)
        return socket
