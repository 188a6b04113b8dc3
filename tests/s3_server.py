"""A local S3 server (moto) as a process of its own, and its buckets as the tests see them: past pyarrow."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

PACKAGES = Path(sys.prefix, "s3-server")
KEY, SECRET = "AKIDTEST", "s3cr3tOfTheTests"
AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential={KEY}/20260105/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
"""moto wants to be told who asks, and believes it."""
START_S = 60.0


@dataclass(frozen=True)
class Bucket:
    """A bucket on a server that listens on a port of loopback."""

    name: str
    port: int

    def url(self, prefix: str = "midas", port: int | None = None) -> str:
        """DATA_DIR with all that is needed to get there; by way of another port where one is given."""
        return (
            f"s3://{KEY}:{SECRET}@{self.name}/{prefix}"
            f"?scheme=http&endpoint_override=127.0.0.1:{port or self.port}&region=us-east-1"
        )

    def environment(self) -> dict[str, str]:
        """What gets there with the plain s3://bucket/prefix."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
        }

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Bytes of every object by key."""
        found: dict[str, int] = {}
        after = ""
        while True:
            text = self._ask("GET", f"?list-type=2&prefix={prefix}&start-after={after}").decode()
            for entry in re.findall("<Contents>(.*?)</Contents>", text, re.DOTALL):
                key = re.search("<Key>(.*?)</Key>", entry)
                size = re.search("<Size>(.*?)</Size>", entry)
                assert key is not None
                assert size is not None
                found[unquote(key[1])] = int(size[1])
            if "<IsTruncated>true" not in text:
                return found
            after = max(found)

    def files(self, prefix: str = "") -> list[str]:
        """Keys that are no folder markers."""
        return sorted(key for key in self.sizes(prefix) if not key.endswith("/"))

    def uploads(self) -> list[str]:
        """Keys of multipart uploads that are not complete."""
        return re.findall("<Key>(.*?)</Key>", self._ask("GET", "?uploads").decode())

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        return self._ask("GET", f"/{key}")

    def _ask(self, method: str, rest: str = "") -> bytes:
        url, headers = f"http://127.0.0.1:{self.port}/{self.name}{rest}", {"Authorization": AUTHORIZATION}
        with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers)) as answer:
            return bytes(answer.read())

    def create(self) -> "Bucket":
        self._ask("PUT")
        return self


@contextmanager
def s3_server() -> Iterator[int]:
    """The port of a server that runs inside the block; skips, saying so, where moto is not installed."""
    if not (PACKAGES / "moto").is_dir():
        pytest.skip(f"the S3 server of the tests is absent: {PACKAGES} (make setup installs tests/s3-server.txt there)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(PACKAGES)}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(server, port)
        yield port
    finally:
        server.kill()
        server.wait()


def _wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    last_s = time.monotonic() + START_S
    while time.monotonic() < last_s:
        if server.poll() is not None:
            raise RuntimeError(f"moto ended with exit code {server.returncode}; run make setup")
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"moto does not listen after {START_S:.0f} s")
