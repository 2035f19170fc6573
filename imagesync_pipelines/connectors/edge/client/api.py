"""The HTTP contract of the head office (HO), and nothing but: docs/contracts/edge.md."""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from typing_extensions import TypeIs

from imagesync_pipelines.connectors.edge import errors
from imagesync_pipelines.connectors.edge.client.bodies import (
    CONNECT_SECONDS,
    BucketBody,
    PhotoBodies,
    PhotoBody,
    refusal,
)
from imagesync_pipelines.connectors.edge.model import IllegibleRow, Photo, legible_id, parse_moment, photo_from_json
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, HeadOfficeAccount
from imagesync_pipelines.languages import told
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import BadAnswerError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest, Param, SessionPolicy
from imagesync_pipelines.upstream.tokens import GivenToken, TokenHolder, TokenPolicy, text_in
from imagesync_pipelines.upstream.transport import Dialect, Transport

PHOTOS_PATH = "api/v1/sync/product-photos/"
STATUS_PATH = "api/v1/sync/product-photos/status/"
# How many reports HO took, as its message counts them (docs/contracts/edge.md).
_TAKEN = re.compile(r"updated for (\d+) photo")


@dataclass(frozen=True)
class ListingPage:
    """One page of a store's listing.

    total: photos that HO counts over all pages. next_offset: None on the last page. deleted_ids: photos that HO says
    are gone, empty when it does not speak of them. ho_time: HO's own clock when it answered, None when unknown.
    left_out: details that cannot be read, with the photo's id.
    """

    photos: tuple[Photo, ...]
    rejects: tuple[IllegibleRow, ...]
    total: int
    next_offset: int | None
    deleted_ids: frozenset[str]
    ho_time: datetime | None
    left_out: tuple[tuple[str, str], ...] = ()


class PhotoReport(NamedTuple):
    """What became of one photo at the edge: status is `synced` or `failed`; error is '' when there was none."""

    photo_id: str
    status: str
    synced_at: datetime | None
    error: str


class HeadOfficeDialect(Dialect):
    """Answers of a head office's JSON calls; its 404 means the store."""

    answers = frozenset({404})

    def judge(self, request: ApiRequest, answer: Answer) -> Answer | UpstreamError:
        """The answer, or that there is no such store."""
        if answer.good:
            return answer
        kind, what = refusal(404, unknown="store not found" in text_in(answer.data, "message").lower())
        return answer.error(
            kind, told(f"{what}; nothing was removed on that") if kind is errors.StoreUnknownError else what
        )

    def failed(self, request: ApiRequest, error: UpstreamError) -> UpstreamError:
        """Name a 403, and a 404 that is not the head office's own."""
        if error.status not in {403, 404}:
            return error
        kind, what = refusal(error.status)
        return kind(what, host=error.host, path=error.path, status=error.status)


class HeadOfficeApi:
    """One head office, with one account; shared by all threads of a run. Close it at the end.

    bucket_hosts: those that may have private addresses when it sends us to its bucket for a photo.
    """

    def __init__(
        self,
        head_office: HeadOfficeAccount,
        settings: EdgeSettings,
        *,
        timing: Timing | None = None,
        bucket_hosts: Collection[str] = (),
    ) -> None:
        timing = timing or Timing()
        policy = SessionPolicy(
            base_url=head_office.url,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=settings.timeout,
            total_deadline=settings.call_deadline,
            tries=settings.tries,
            verify_tls=settings.verify_tls,
            is_ours=True,
        )
        account = TokenPolicy(
            system=told("the head office"),
            credentials=told(f"user name and password (user {head_office.username})"),
            advice=told("check the account there and in the accounts file"),
            path="api/v1/token/",
            body={"username": head_office.username, "password": head_office.password.get_secret_value()},
            read=lambda data: (
                GivenToken(access, text_in(data, "refresh")) if (access := text_in(data, "access")) else None
            ),
            refresh_path="api/v1/token/refresh/",
            renew_before=120.0,
            proven_by_use=True,
        )
        self._tokens = TokenHolder(policy, account, timing)
        self._transport = Transport(policy, HeadOfficeDialect(), timing, tokens=self._tokens)
        self._bodies = PhotoBodies(head_office.url, self._tokens, settings, timing, bucket_hosts)
        self._zone = ZoneInfo(settings.head_office_timezone)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._transport.close()
        self._bodies.close()

    @property
    def calls(self) -> int:
        """HTTP requests made so far: logins, retries and downloads included."""
        return self._transport.token_calls + self._transport.calls + self._bodies.calls

    @property
    def bytes(self) -> int:
        """Bytes of bodies received so far, photos included."""
        return self._transport.bytes + self._bodies.bytes

    @property
    def ahead(self) -> float | None:
        """Seconds that the head office's clock is ahead of ours, as its last answer was dated; None if it was not."""
        return self._transport.ahead

    def check_login(self) -> None:
        """Get a token now. Raises CredentialsError when the account is refused."""
        self._tokens.current()

    def list_page(self, store_id: str, *, since: datetime | None, limit: int, offset: int) -> ListingPage:
        """One page of a store's listing; `since` (inclusive) leaves out what HO has not touched after it.

        Raises StoreUnknownError, StoreNotAllowedError, BadListingError, CredentialsError and what the session raises.
        """
        after = None if since is None else _z_form(since)
        params: dict[str, Param] = {"store_id": store_id, "since": after, "limit": limit, "offset": offset}
        return self._page(self._call("GET", PHOTOS_PATH, params), offset)

    def open_photo(
        self, photo_id: str, store_id: str, *, start: int = 0, etag: str = ""
    ) -> AbstractContextManager[PhotoBody | BucketBody]:
        """Open the download of one photo; only its head is read, the bytes come from `chunks`.

        With the ETag of a part that is already here, it goes on at byte `start` where HO can do that and the photo is
        the same; look at the body's own `start`. The opening is tried again when it fails, a body is not. Where HO
        sends us to its bucket, the photo comes from there, or else from HO after all; our token goes to HO alone.
        Raises PhotoGoneError, ObjectMissingError, StoreUnknownError, StoreNotAllowedError, CredentialsError and any
        other UpstreamError.
        """
        wanted = {"Range": f"bytes={start}-", "If-Range": etag} if start and etag else {}
        return self._bodies.open(photo_id, store_id, wanted)

    def photo_exists(self, photo_id: str, store_id: str) -> bool:
        """Whether HO still has the row of this photo, with bytes or without; only its own word is a no.

        Raises every error but PhotoGoneError and ObjectMissingError, as `open_photo`.
        """
        try:
            # Not HEAD: the original answers 405 to it. One byte is asked for; where ranges are unknown we hang up.
            with self._bodies.open(photo_id, store_id, {"Range": "bytes=0-0"}):
                return True
        except errors.ObjectMissingError:
            return True
        except errors.PhotoGoneError:
            return False

    def report(self, store_id: str, batch: Sequence[PhotoReport]) -> None:
        """Tell HO what became of photos; saying it twice does no harm.

        The body decides whether it took them: it says success and, where it counts, all of them. Raises as `list_page`,
        and BadAnswerError for an answer that does not say so.
        """
        rows = [
            item._asdict() | {"synced_at": item.synced_at and _z_form(item.synced_at), "error": item.error or None}
            for item in batch
        ]
        answer = self._call("POST", STATUS_PATH, {}, json={"store_id": store_id, "sync_batch": rows})
        status, message = (text_in(answer.data, name) for name in ("status", "message"))
        counted = _TAKEN.search(message)
        if status.lower() != "success" or (counted is not None and int(counted[1]) != len(rows)):
            said = "; ".join(filter(None, (status, message)))[:200] or "nothing"
            raise answer.error(
                BadAnswerError, told(f"HTTP {answer.status}, but it does not say that it took the report: {said}")
            )

    def _call(self, method: str, path: str, params: Mapping[str, Param], json: object = None) -> Answer:
        """Make one call; saying the same twice does no harm."""
        return self._transport.call(ApiRequest(method, path, params, json=json, idempotent=True, expect_json=True))

    def _page(self, answer: Answer, offset: int) -> ListingPage:
        data = answer.data.get("data") if isinstance(answer.data, dict) else None
        bad = errors.BadListingError
        if not isinstance(data, dict):
            raise answer.error(bad, told("the answer is JSON but no listing: an object `data` was expected"))
        rows, total, following = data.get("photos"), data.get("total"), data.get("next_offset")
        if not isinstance(rows, list):
            raise answer.error(bad, told("the listing has no usable photos: a list was expected"))
        if not _is_count(total):
            raise answer.error(bad, told("the listing has no usable total: a whole number was expected"))
        if not data.get("has_more"):
            following = None
        elif not _is_count(following) or following <= offset or not rows:
            what = told(f"the listing says that more follows offset {offset}, but not where; it would never end")
            raise answer.error(bad, what)
        left_out: list[tuple[str, str]] = []
        read = [photo_from_json(row, self._zone, lambda photo, what: left_out.append((photo, what))) for row in rows]
        photos = tuple(row for row in read if isinstance(row, Photo))
        rejects = tuple(row for row in read if isinstance(row, IllegibleRow))
        deleted = data.get("deleted_ids")
        gone = frozenset(filter(None, map(legible_id, deleted if isinstance(deleted, list) else [])))
        return ListingPage(photos, rejects, total, following, gone, self._ho_time(answer, data), tuple(left_out))

    def _ho_time(self, answer: Answer, data: Mapping[str, Any]) -> datetime | None:
        """HO's clock: its own `server_time`, else the answer's Date header."""
        with suppress(ValueError):
            return parse_moment(data.get("server_time"), self._zone)
        try:
            return parsedate_to_datetime(answer.headers.get("Date", "")).astimezone(UTC)
        except (TypeError, ValueError, IndexError):
            return None


def _z_form(moment: datetime) -> str:
    """A moment in UTC, ending in Z: a raw + in a query would arrive as a blank (docs/contracts/edge.md)."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _is_count(value: object) -> TypeIs[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
