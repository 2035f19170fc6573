"""Sending to an address that a person gave: judged and resolved as that of a picture is, once, and no redirects."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from imagesync_pipelines.languages import told
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.upstream import errors
from imagesync_pipelines.upstream.addresses import Resolve, judge_url, resolve_host
from imagesync_pipelines.upstream.answers import Place, failure_of_status
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy, judged_connection
from imagesync_pipelines.upstream.retries import Timing, bare, retry_after_seconds
from imagesync_pipelines.upstream.session import REDIRECTS, USER_AGENT

# Of an answer; nobody reads more.
MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Posting:
    """One POST. secrets: texts in it that no message may show."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


class Posted(NamedTuple):
    """An answer that accepts: its status is 2xx. body: its beginning, empty where it could not be read."""

    status: int
    body: bytes


def post_once(
    posting: Posting, policy: FetchPolicy, *, timing: Timing | None = None, resolve: Resolve = resolve_host
) -> Posted:
    """Send it, and not again. Raises the UpstreamError that says why it was not accepted, with nothing secret in it."""
    try:
        return _post(posting, policy, timing or Timing(), resolve)
    except UpstreamError as error:
        raise bare(error) from None


def _post(posting: Posting, policy: FetchPolicy, timing: Timing, resolve: Resolve) -> Posted:
    there = judge_url(posting.url, policy.allowed_hosts, resolve)
    # A path may hold what only sender and receiver know.
    if isinstance(there, UpstreamError):
        raise replace(there, path="")
    place = Place(there.name, "", posting.secrets)
    deadline = timing.clock() + policy.total_deadline
    spans.attempt.set(1)
    try:
        with (
            spans.call("POST", f"{there.scheme}://{there.name}/", has_route=False) as made,
            judged_connection(there, policy, policy.total_deadline) as connection,
        ):
            headers = {"Host": there.name, "User-Agent": USER_AGENT, "Accept": "application/json, */*;q=0.1"}
            headers |= {"Accept-Encoding": "identity", "Connection": "close", **posting.headers}
            connection.request("POST", there.target, body=posting.body, headers=headers)
            response = connection.getresponse()
            body = _beginning(response)
            status = response.status
            made.note(http__response__status_code=status)
            if 200 <= status < 300:
                return Posted(status, body)
            if status in REDIRECTS:
                what = told(f"HTTP {status}: redirects are not followed; give the address that it leads to")
                raise place.error(errors.RedirectRefusedError, what, status=status)
            asked = retry_after_seconds(dict(response.headers), timing.wall())
            raise failure_of_status(place, status, body, asked)
    except ssl.SSLCertVerificationError:
        raise place.error(errors.InsecureConnectionError, told("the TLS certificate could not be verified")) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = isinstance(error, TimeoutError) or timing.clock() >= deadline
        what = told("no answer in time") if late else told(f"the connection failed or broke ({type(error).__name__})")
        raise place.error(errors.UnavailableError, what) from None


def _beginning(response: http.client.HTTPResponse) -> bytes:
    """As much of the body as is looked at. The status says whether it was accepted, whatever comes after it."""
    try:
        return response.read(MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return b""
