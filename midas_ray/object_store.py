"""S3 and what speaks its protocol: where it is, who asks, whole uploads, and one clear line where it fails.

Credentials and endpoint come from the URI, else from the standard AWS environment variables and files. Nothing that is
shown or logged holds them.
"""

import configparser
import functools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from midas_ray.errors import StorageError
from midas_ray.interrupt import held_back

SCHEME = "s3://"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
"""How long a request may go without a byte."""
ATTEMPTS = 8
"""Tries of a request that met a 500, a 503, a slow-down or a cut connection: half a minute, ever farther apart."""
FIRST_ATTEMPTS = 3
"""Tries of the first request of a process: a wrong address is to be told within seconds."""
PART_BYTES = 8 * 2**20
LEAST_SECRET = 8
"""Shorter credentials are none, and would be found in any text."""

_OPTIONS = ("endpoint_override", "region", "scheme", "force_virtual_addressing", "tls_ca_file_path")
_CODE = re.compile(r"AWS Error (\w+)(?: \((HTTP status \d+)\))?(?: during \w+ operation)?: (.*)", re.DOTALL)
_UNREACHABLE = re.compile(r"curlCode: (?:5|6|7|35|60), ")
"""libcurl: proxy or host not resolved, not connected, no TLS, a certificate that is not trusted."""
_ABSENT = {"NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND"}
"""The second is what a server answers that is none of S3."""
_REFUSED = {
    "ACCESS_DENIED",
    "ACCOUNT_PROBLEM",
    "EXPIRED_TOKEN",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "INVALID_SIGNATURE",
    "INVALID_TOKEN",
    "MISSING_AUTHENTICATION_TOKEN",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
}
_ABANDONED: list[pa.NativeFile] = []


@dataclass(frozen=True, slots=True)
class S3Location:
    """A place in a bucket, and how to get there. endpoint: host[:port], None = Amazon's own for the region."""

    bucket: str
    prefix: str
    scheme: str = "https"
    endpoint: str | None = None
    region: str | None = None
    virtual_addressing: bool = False
    ca_file: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @property
    def root(self) -> str:
        """As `pyarrow.fs` names it."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    @property
    def shown(self) -> str:
        """For messages and logs: without credentials and options."""
        return SCHEME + self.root

    @property
    def identity(self) -> str:
        """The same for the same objects, whoever asks for them."""
        return f"{self.endpoint or 'amazonaws.com'}/{self.root}"


def shown_uri(uri: str) -> str:
    """A URI without user, password and query."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def parse_location(uri: str, environment: Mapping[str, str] = os.environ) -> S3Location:
    """What `s3://[KEY:SECRET@]bucket[/prefix][?option=value&...]` and the environment say. Raises StorageError."""
    parts = urlsplit(uri)
    bucket = parts.netloc.rpartition("@")[2]
    if not bucket:
        raise StorageError(f"DATA_DIR {shown_uri(uri)}: expected s3://BUCKET/PREFIX, found no bucket")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise StorageError(
            f"DATA_DIR {shown_uri(uri)}: expected options of {', '.join(_OPTIONS)}, found {', '.join(unknown)}"
        )
    named = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or ""
    named = options.get("endpoint_override") or named
    scheme, separator, endpoint = named.rpartition("://")
    scheme = options.get("scheme") or (scheme if separator else "https")
    if scheme not in ("http", "https"):
        raise StorageError(f"DATA_DIR {shown_uri(uri)}: expected the scheme http or https, found {scheme}")
    key, secret, token = _credentials(parts.username, parts.password, environment)
    return S3Location(
        bucket=bucket,
        prefix=unquote(parts.path).strip("/"),
        scheme=scheme,
        endpoint=endpoint.rstrip("/") or None,
        region=options.get("region") or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
        virtual_addressing=options.get("force_virtual_addressing", "").lower() == "true",
        ca_file=options.get("tls_ca_file_path"),
        access_key=key,
        secret_key=secret,
        session_token=token,
    )


def _credentials(
    user: str | None, password: str | None, environment: Mapping[str, str]
) -> tuple[str | None, str | None, str | None]:
    """(key, secret, token) of the URI, the environment or the shared credentials file, in this order; Nones where the
    machine's own role is to be asked."""
    if user and password:
        return unquote(user), unquote(password), None
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    key, secret, token = (environment.get(name) or None for name in names)
    if key and secret:
        return key, secret, token
    path = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    profiles = configparser.ConfigParser(interpolation=None)
    try:
        profiles.read(path)
    except configparser.Error:
        raise StorageError(f"{path}: expected profiles with aws_access_key_id = ..., found another format") from None
    profile = environment.get("AWS_PROFILE") or "default"
    if not profiles.has_option(profile, names[0].lower()):
        return None, None, None
    found = profiles[profile]
    return found.get(names[0].lower()), found.get(names[1].lower()), found.get(names[2].lower())


@functools.cache
def open_s3(location: S3Location) -> pafs.S3FileSystem:
    """The location's file system, once in a process. Raises StorageError where it cannot be reached or read."""
    region = location.region
    if region is None and location.endpoint is None:
        try:
            region = pafs.resolve_s3_region(location.bucket)
        except OSError as error:
            raise explained(error, location) from None
    _check(_client(location, region, FIRST_ATTEMPTS), location)
    return _client(location, region, ATTEMPTS)


def _client(location: S3Location, region: str | None, attempts: int) -> pafs.S3FileSystem:
    return pafs.S3FileSystem(
        access_key=location.access_key,
        secret_key=location.secret_key,
        session_token=location.session_token,
        region=region or "us-east-1",
        scheme=location.scheme,
        endpoint_override=location.endpoint,
        force_virtual_addressing=location.virtual_addressing,
        tls_ca_file_path=location.ca_file,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=ANSWER_TIMEOUT_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=attempts),
        background_writes=False,  # an upload that is given up in the background would hang the process at its end
        allow_delayed_open=True,  # a small file is one request
    )


def _check(client: pafs.S3FileSystem, location: S3Location) -> None:
    """Raises StorageError where the bucket is not there, or not ours to list. A server in trouble is no reason: the
    requests that follow are more patient."""
    try:
        client.get_file_info(pafs.FileSelector(location.root))
    except FileNotFoundError:
        return  # nothing there yet
    except OSError as error:
        code, _ = _code(error)
        if code in _ABSENT or code in _REFUSED or _UNREACHABLE.search(str(error)):
            raise explained(error, location) from None


def _code(error: OSError) -> tuple[str, str]:
    """(Amazon's code, what it says); empty where the error is none of the store's."""
    found = _CODE.search(str(error))
    if found is None:
        return "", ""
    return found[1], found[3] if found[2] is None else f"{found[2]}, {found[3]}"


def is_of_store(error: OSError) -> bool:
    """Whether the store failed, and not what was read from it."""
    return bool(_code(error)[0])


def explained(error: OSError, location: S3Location) -> StorageError:
    """The error as one line: what was found and what to do, without secrets."""
    code, said = _code(error)
    reason = (said or str(error)).partition("\n")[0].partition(" (Request ID")[0].strip()[:200]
    for each in fields(location):
        secret = getattr(location, each.name) if not each.repr else None
        if secret and len(secret) >= LEAST_SECRET:
            reason = reason.replace(secret, "***")
    place = location.endpoint or f"S3 in {location.region or 'its region'}"
    if code in _ABSENT or ("Bucket" in reason and "not found" in reason):
        return StorageError(
            f"{location.shown}: expected a bucket, found none named {location.bucket} at {place}; create it, or "
            "correct DATA_DIR or AWS_ENDPOINT_URL"
        )
    if code in _REFUSED:
        return StorageError(
            f"{location.shown}: {place} refuses access ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_PROFILE and the rights to list, read and write the bucket"
        )
    if _UNREACHABLE.search(str(error)):
        reason = reason.rpartition("Details: ")[2]
        return StorageError(
            f"{location.shown}: expected an S3 server at {place}, found none ({reason}); check the network, "
            "AWS_ENDPOINT_URL and AWS_REGION"
        )
    return StorageError(
        f"{location.shown}: {place} failed after {ATTEMPTS} tries ({code or 'error'}: {reason}); try again"
    )


def upload(client: pafs.S3FileSystem, path: str, source: IO[bytes], size: int) -> None:
    """Write the next `size` bytes of `source` to `path`, which shows all of them or is not there. Raises OSError.

    Up to some 10 MB are one request. Beyond, a process that is killed leaves parts that nobody sees: have the bucket
    expire incomplete multipart uploads.
    """
    with held_back():
        stream = client.open_output_stream(path, compression=None)
        try:
            for piece in _pieces(source, size):
                stream.write(piece)
        except BaseException:
            # pyarrow cannot abort: closing the stream, or losing the last reference to it, would complete the object.
            _ABANDONED.append(stream)
            raise
        stream.close()


def _pieces(source: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = source.read(min(left, PART_BYTES))
        if not piece:
            raise OSError(f"expected {size} bytes to upload, found {left} fewer")
        left -= len(piece)
        yield piece


def polars_options(location: S3Location) -> dict[str, Any]:
    """`storage_options` of polars for the same place and the same credentials."""
    options: dict[str, Any] = {
        "aws_region": location.region or "us-east-1",
        "aws_virtual_hosted_style_request": str(location.virtual_addressing).lower(),
        "max_retries": ATTEMPTS,
    }
    if location.endpoint is not None:
        options["aws_endpoint_url"] = f"{location.scheme}://{location.endpoint}"
        options["aws_allow_http"] = str(location.scheme == "http").lower()
    for name in ("access_key", "secret_key", "session_token"):
        value = getattr(location, name)
        if value is not None:
            option = {"access_key": "aws_access_key_id", "secret_key": "aws_secret_access_key"}.get(name, f"aws_{name}")
            options[option] = value
    return options
