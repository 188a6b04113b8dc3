"""A fake Vast.ai over real HTTP, and clients of it that do not wait."""

from collections.abc import Iterator

import pytest

from midas_ray.cloud import client, transport
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.fake import FakeHandle, running_fake


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions and look-ups follow at once."""
    monkeypatch.setattr(transport, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(client, "LOOKUP_EVERY_S", 0.01)


@pytest.fixture
def fake(quick: None) -> Iterator[FakeHandle]:
    with running_fake() as running:
        yield running


@pytest.fixture
def vast(fake: FakeHandle) -> Iterator[VastClient]:
    with VastClient(fake.api_key, fake.url, timeout_s=5.0, total_s=10.0, intervals_s={}) as vast:
        yield vast
