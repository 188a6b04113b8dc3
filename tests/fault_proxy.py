"""An HTTP proxy between pyarrow and the S3 server that fails now and then, as the real one does."""

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["403", "404", "500", "503", "cut-before", "cut-during", "cut-after"]
"""cut-before: the server never hears of the request; cut-after: it does, and the client never hears of the answer;
cut-during: the client gets half of it."""
FAULTS: tuple[Fault, ...] = ("500", "503", "cut-before", "cut-during", "cut-after")
_CODES = {"403": "AccessDenied", "500": "InternalError", "503": "SlowDown"}
_BY_HOP = {"connection", "transfer-encoding", "content-length", "expect"}


@dataclass
class Faults:
    """Which request meets which fault. choose(method, path) gives None for none."""

    choose: Callable[[str, str], Fault | None]
    seen: Counter[str] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append(f"{method} {path}")
            fault = self.choose(method, path)
            if fault is not None:
                self.seen[fault] += 1
            return fault


def some(seed: int, share: float) -> Callable[[str, str], Fault | None]:
    """A share of all requests fails, each in a way of its own."""
    draw = random.Random(seed)
    return lambda _method, _path: draw.choice(FAULTS) if draw.random() < share else None


@contextmanager
def fault_proxy(server_port: int, faults: Faults) -> Iterator[int]:
    """The port of a proxy to `server_port` that runs inside the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self._body()
            fault = faults.next(self.command, self.path)
            if fault == "cut-before":
                self.close_connection = True
            elif fault == "404":
                self._answer(404, {}, b"<html>not here</html>", None)
            elif fault in _CODES:
                code = _CODES[fault]
                self._answer(int(fault), {}, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), None)
            else:
                self._forward(body, fault)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _forward(self, body: bytes, fault: Fault | None) -> None:
            upstream = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _BY_HOP}
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            data = answer.read()
            upstream.close()
            if fault == "cut-after":
                self.close_connection = True
                return
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _BY_HOP}
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, kept, data, length, half=fault == "cut-during")

        def _answer(
            self, status: int, headers: dict[str, str], data: bytes, length: str | None, *, half: bool = False
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if half:
                self.close_connection = True
                data = data[: len(data) // 2]
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up, as one does that is killed, is no error of the proxy's."""

    proxy = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy.server_address[1]
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
