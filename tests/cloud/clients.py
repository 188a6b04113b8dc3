"""Clients of the fake, and a rent in one line."""

from typing import Any

from midas_ray.cloud.client import VastClient
from midas_ray.cloud.fake import FakeHandle
from midas_ray.cloud.offers import OfferQuery, rank

QUERY = OfferQuery(num_gpus=1)


def rent(vast: VastClient, label: str = "midas-1", offer_id: int | None = None, **more: Any) -> int:
    chosen = rank(vast.search(QUERY), QUERY)[0].id if offer_id is None else offer_id
    asked: dict[str, Any] = {"image": "pytorch/pytorch", "disk_gb": 40, "label": label, "env": {}, "onstart": "true"}
    return vast.create(chosen, **(asked | {"bid_price": None} | more))


def quick_client(fake: FakeHandle, **more: Any) -> VastClient:
    return VastClient(fake.api_key, fake.url, **({"timeout_s": 1.0, "total_s": 10.0, "intervals_s": {}} | more))
