"""Every exception that MIDAS raises on purpose.

MidasError                 one clear line for the user; the command exits with `exit_code`
 +-- UsageError            a flag, a setting or an argument is wrong (exit code 2)
 +-- DataError             what was read is missing, malformed or of another version
 |    +-- CorruptFileError   a file is truncated or damaged
 |    |    +-- TruncatedFileError  it is whole up to where it is cut off
 |    +-- SchemaError        a file of another schema version
 |    +-- TooFewRowsError    not enough rows for what was asked
 +-- StorageError          a folder cannot be read or written
 +-- MemoryLimitError      the machine has too little memory for what was asked
 +-- WorkerError           workers died more often than is made up for
 +-- NodeError             no node came that could do what was asked, or one that came cannot
 +-- VenueError            the exchange refused, is unreachable or sent what it must not
      +-- UnknownSymbolError the venue does not list this symbol
      +-- GeoBlockedError    the venue does not serve this country: no use to try again

The message says what was expected, what was found and what to do.
"""


class MidasError(Exception):
    """Base of all expected failures. `exit_code` is the exit status of the command that meets it."""

    exit_code = 1


class UsageError(MidasError):
    """A flag, a setting or an argument is wrong."""

    exit_code = 2


class DataError(MidasError):
    """What was read is missing, malformed or of another version."""


class CorruptFileError(DataError):
    """A file is truncated or damaged."""


class TruncatedFileError(CorruptFileError):
    """A file is cut off; what comes before is whole. Expected only of a file that still grows."""


class SchemaError(DataError):
    """A file was written with another schema version."""


class TooFewRowsError(DataError):
    """There are not enough rows for what was asked."""


class StorageError(MidasError):
    """A folder or file cannot be read or written."""


class MemoryLimitError(MidasError):
    """The machine has too little memory for what was asked."""


class WorkerError(MidasError):
    """Workers died more often than is made up for."""


class NodeError(MidasError):
    """No node came that could do what was asked, or one that came cannot."""


class VenueError(MidasError):
    """The exchange refused, is unreachable or sent what it must not."""


class UnknownSymbolError(VenueError):
    """The venue does not list this symbol."""


class GeoBlockedError(VenueError):
    """The venue does not serve this country: no use to try again."""
