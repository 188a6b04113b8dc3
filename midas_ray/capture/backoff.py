"""How long to wait before trying again: exponential, with full jitter: many clients do not come back at once."""

import random

FIRST_S = 0.5
MOST_S = 30.0


def full_jitter_s(attempt: int, first_s: float = FIRST_S, most_s: float = MOST_S) -> float:
    """Seconds to wait before repetition `attempt` (0 = the first): uniform in [0, min(most, first x 2^attempt)].

    Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0.0, min(most_s, first_s * 2.0 ** min(attempt, 32)))
