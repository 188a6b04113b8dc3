"""Vast.ai's REST API, typed: search, rent, list, label, destroy. Synchronous, thread-safe, bounded in time.

Every call waits for its kind's minimum interval, is repeated within a bounded time where that is safe (429; and for
calls that change nothing twice, also 5xx, timeouts and broken connections), and fails with one of the kinds of
`midas_ray.cloud.errors`. No message, log or repr holds the API key.
"""

from collections.abc import Mapping
from typing import Self

from midas_ray.cloud.messages import Account, Instance, Offer
from midas_ray.cloud.offers import OfferQuery

DEFAULT_URL = "https://console.vast.ai"
MAX_LABEL = 60
"""Characters that a label may have."""
MAX_ONSTART = 4048
"""Characters that `onstart` may have."""


class VastClient:
    """The account that `api_key` opens, at `base_url`.

    One may be shared by threads, and should be: minimum intervals are kept per client. `with` closes it.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = DEFAULT_URL,
        *,
        timeout_s: float = 20.0,
        total_s: float = 60.0,
        intervals_s: Mapping[str, float] | None = None,
    ) -> None:
        """`timeout_s`: for one answer; `total_s`: for a call with all its repetitions and waits; `intervals_s`:
        minimum interval by kind of call (search, create, instances, show, label, destroy, ssh, account), s."""
        raise NotImplementedError

    def search(self, query: OfferQuery, limit: int = 64) -> list[Offer]:
        """Offers that the API holds to fit, cheapest first; not yet ranked (`offers.rank`). Raises VastError."""
        raise NotImplementedError

    def create(
        self,
        offer_id: int,
        *,
        image: str,
        disk_gb: float,
        label: str,
        env: dict[str, str],
        onstart: str,
        bid_price: float | None,
    ) -> int:
        """Rent an offer; gives the instance's id. `label` must be new: a lost answer is looked up by it, never repeated.

        `bid_price`: $ an hour without the disk; None = on demand. Raises OfferGoneError, NoCreditError, RefusedError,
        CreateUnknownError (an instance may exist), RateLimitedError and UnavailableError (none does).
        """
        raise NotImplementedError

    def instances(self) -> list[Instance]:
        """Every instance of the account, also those that others made.

        Threads that ask while a listing is under way share the next one: two listings serve any number of them.
        """
        raise NotImplementedError

    def show(self, instance_id: int) -> Instance | None:
        """One instance; None where the account has none of this id."""
        raise NotImplementedError

    def set_label(self, instance_id: int, label: str) -> None:
        """Label an instance. Raises RefusedError where it is gone."""
        raise NotImplementedError

    def destroy(self, instance_id: int) -> None:
        """Destroy an instance and end its charges; gone already is fine."""
        raise NotImplementedError

    def ensure_ssh_key(self, public_key: str) -> None:
        """Have the account hold `public_key` (one line of OpenSSH): instances made from now on let it in."""
        raise NotImplementedError

    def account(self) -> Account:
        """What the account has left to spend."""
        raise NotImplementedError

    def close(self) -> None:
        """Close its connections."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
