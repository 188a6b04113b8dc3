"""Listening on an address, plain or with TLS, for every exchange on this machine."""

import ssl
from pathlib import Path

from aiohttp import web

from midas_ray.errors import UsageError


async def listen(
    application: web.Application, host: str, port: int, ssl_context: ssl.SSLContext | None
) -> tuple[web.AppRunner, int]:
    """(the running server, its port). Raises UsageError where the address cannot be listened on."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=ssl_context).start()
    except OSError as error:
        await runner.cleanup()
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f"--listen {host}:{port}: cannot listen there ({reason}); "
            "stop what uses it, or choose another port (0 = any free one)"
        ) from None
    return runner, runner.addresses[0][1]


def load_certificate(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server with this certificate and key (PEM files) needs for TLS. Raises UsageError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"--tls-cert {certificate} --tls-key {key}: expected a certificate and its key in PEM files "
            f"({reason.lower()})"
        ) from None
    return context
