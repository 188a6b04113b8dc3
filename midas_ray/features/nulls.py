"""Why a feature is null: three kinds, never mixed.

The feature table keeps one byte a feature in `null_kinds`, in registry order.
"""

from enum import IntEnum


class NullKind(IntEnum):
    """What a null means; VALUE where the feature is a number."""

    VALUE = 0
    GAP = 1
    """An input stream of the feature was not covered: the number is not known to anybody who had this data."""
    WARM_UP = 2
    """Fewer than `min_obs` covered buckets in the window."""
    UNDEFINED = 3
    """0/0, no prints, too few levels, while covered."""
