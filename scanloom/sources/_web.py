"""Requests to web servers: secrets from the environment only, addresses fit to be shown, answers that may change."""

import os
import re
import time
from email.utils import mktime_tz, parsedate_tz
from urllib.parse import urlsplit

import requests
import urllib3

from scanloom.sources._report import FetchError
from scanloom.sources._transfer import Transient

# RFC 9110 15.5.9, RFC 6585 4, RFC 9110 15.6: worth another attempt. All other 4xx mean what they say.
TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
NETWORK_ERRORS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
REQUEST_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)
HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*)")


def address(url: str) -> str:
    """The URL as it may stand in a log: without the query, where signed addresses carry their key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def checked_url(url: str) -> str:
    """The URL. Raises ValueError unless it is http(s) with a host and without a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address that starts with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("no passwords here: put them into ~/.netrc, or name an environment variable in headers_from")
    return url


def secret_headers(variable: str | None) -> dict[str, str]:
    """Headers that the environment variable holds, one `Name: value` a line. Raises ValueError without showing it."""
    if variable is None:
        return {}
    text = os.environ.get(variable, "")
    if not text.strip():
        raise ValueError(
            f"headers_from: the environment variable {variable} is not set; "
            f"set it to the header to send, such as 'Authorization: Bearer ...'"
        )
    found = [HEADER.fullmatch(line.strip()) for line in text.strip().splitlines()]
    if not all(found):
        raise ValueError(f"headers_from: the environment variable {variable} does not hold lines 'Name: value'")
    return {match[1]: match[2].strip() for match in found}


class _Secret(requests.auth.AuthBase):
    """Adds secret headers; as `auth` of a session they take precedence over ~/.netrc."""

    def __init__(self, headers: dict[str, str]):
        self.headers = headers

    def __call__(self, request):
        request.headers.update(self.headers)
        return request


class Session(requests.Session):
    """A session that sends its secret headers to no other host than the one asked, whatever that redirects to."""

    def __init__(self, headers: dict[str, str]):
        super().__init__()
        self._secret = headers
        if headers:
            self.auth = _Secret(headers)

    def rebuild_auth(self, prepared_request, response):
        """Drop all secret headers where requests drops `Authorization` alone: on the way to another host."""
        super().rebuild_auth(prepared_request, response)
        if self.should_strip_auth(response.request.url, prepared_request.url):
            for name in self._secret:
                prepared_request.headers.pop(name, None)


def retry_after_s(response: requests.Response) -> float | None:
    """Seconds that `Retry-After` asks for (RFC 9110 10.2.3: a number or a date), None where it says nothing."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    date = parsedate_tz(value) if value else None
    return max(0.0, mktime_tz(date) - time.time()) if date else None


def problem_of(error: Exception, what: str) -> Transient | FetchError:
    """What to raise for one of REQUEST_ERRORS, whose own texts hold the whole address: worth another attempt or not."""
    name = type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return FetchError(
            f"{what}: the host's certificate is not trusted here; "
            "let REQUESTS_CA_BUNDLE name your organisation's certificate file"
        )
    if isinstance(error, (*NETWORK_ERRORS, urllib3.exceptions.HTTPError)):
        return Transient(f"the connection broke ({name})")
    return FetchError(f"{what}: the host could not be asked ({name}); correct the address")


def refuse_errors(response: requests.Response, what: str) -> None:
    """Raise Transient or FetchError for an answer that is none."""
    status = response.status_code
    if status in TRANSIENT_STATUS:
        raise Transient(f"the host answered {status} {response.reason}", retry_after_s(response))
    if status in (401, 403):
        raise FetchError(
            f"{what}: the host answered {status} {response.reason}; it wants a login: put it into ~/.netrc, "
            "or name an environment variable that holds the header in headers_from"
        )
    if status >= 400:
        raise FetchError(f"{what}: the host answered {status} {response.reason}; correct the address")
