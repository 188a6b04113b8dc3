"""What goes wrong with Vast.ai, each kind apart because each is answered differently.

MidasError
 +-- VastError                  something between us and Vast.ai; the command exits with 1
      +-- AuthError             the API key is missing, unreadable or refused: no use to try again
      +-- NoCreditError         the account has no credit: nothing can be rented until it is topped up
      +-- NoOfferError          no offer fits: the message says the cheapest and what to relax
      +-- OfferGoneError        this offer was rented by another meanwhile: take the next
      +-- RateLimitedError      the API refuses calls for now (429): nothing was done, try later
      +-- UnavailableError      no answer: timeouts, 5xx, connection refused or broken
      |    +-- CreateUnknownError  a create was sent, no answer came, and no instance bears its label (yet)
      +-- MalformedAnswerError  an answer that is not what Vast.ai documents
      +-- RefusedError          the API understood and refused, for a reason it gives: a wrong call
      +-- BudgetError           a cap on price, nodes, hours or spend would be passed: nothing was rented

No message holds the API key.
"""

from midas_ray.errors import MidasError


class VastError(MidasError):
    """Something between us and Vast.ai."""


class AuthError(VastError):
    """The API key is missing, can be read by others, or is refused."""


class NoCreditError(VastError):
    """The account has no credit left."""


class NoOfferError(VastError):
    """No offer fits; the message names the cheapest that would with one condition relaxed."""


class OfferGoneError(VastError):
    """The offer was rented by another since it was listed (404 or 410 at create)."""


class RateLimitedError(VastError):
    """The API refused the call as too frequent (429) for as long as we tried; nothing was done.

    `retry_after_s`: how long the API said to wait, s; None where it did not.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(VastError):
    """No answer from the API: timeout, 5xx, or no connection.

    `maybe_done`: whether the call may have been carried out; not so where no connection came about.
    """

    def __init__(self, message: str, *, maybe_done: bool = True) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class CreateUnknownError(UnavailableError):
    """A create was sent, its answer was lost, and no instance bears its label so far: it may still appear.

    `label`: what to look for, and to destroy should it appear.
    """

    def __init__(self, message: str, label: str = "") -> None:
        super().__init__(message, maybe_done=True)
        self.label = label


class MalformedAnswerError(VastError):
    """The API sent what it does not document: broken JSON, or a field that matters is missing or of another type."""


class RefusedError(VastError):
    """The API understood the call and refused it, with a reason: an argument is wrong.

    `status`: of HTTP, 0 where we refused before calling; `code`: Vast.ai's word for it, such as `invalid_args`.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BudgetError(VastError):
    """A cap on price, nodes, hours or spend would be passed; nothing was rented."""
