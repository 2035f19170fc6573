"""The HTTP contract of МойСклад's images, and nothing but: lists, searches, downloads, list-setting writes.

There is no DELETE and no adding of single images: setting a list is what can be repeated without harm. A storage host
may be any, and gets no credentials; miniatures are never fetched. The limit of 20 MB counts the encoded JSON, so it is
counted on what is really sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import orjson
import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.moysklad import errors
from imagesync_pipelines.connectors.moysklad.accounts import MatchField, MoyskladAccount
from imagesync_pipelines.connectors.moysklad.client import answers
from imagesync_pipelines.connectors.moysklad.client.calls import REDIRECTS, MoyskladDialect, rate_limit, session_policy
from imagesync_pipelines.connectors.moysklad.model import (
    TYPES,
    UNKNOWN_SIZE,
    Entity,
    EntityType,
    ImageRow,
    Part,
    values_of,
)
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import AlteredBodyError, BadAnswerError, UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest, Param
from imagesync_pipelines.upstream.transport import RateLimiter, Transport

# What a storage host answers to a link that expired, and a public host to one that is dead; another may then help.
_EXPIRED = frozenset({400, 401, 403, 404, 410})
# Rows of images come only with this many entities on a page; with more they are left out without a word.
EXPANDED_LIMIT = 100
_EXPANDED: Mapping[str, str | int] = {"expand": "images", "limit": EXPANDED_LIMIT}
_JSON = {"Accept": "application/json;charset=utf-8"}
_BETA = {"X-Lognex-Remap-Beta-Feature": "assortmentWithoutStock"}
MOST_BYTES = 20_000_000


class MoyskladApi(Transport):
    """One МойСклад account, shared by all threads of a run and, in its limits, by all runs of an installation.

    Every call may raise AccountStoppedError (its kinds among them) and any other UpstreamError; a write raises
    AnswerLostError when it may or may not have been carried out. allowed_hosts: hosts in private networks that images
    may come from. Close it at the end.
    """

    def __init__(
        self,
        account: MoyskladAccount,
        settings: MoyskladSettings,
        engine: sa.Engine,
        *,
        allowed_hosts: frozenset[str] = frozenset(),
        timing: Timing | None = None,
    ) -> None:
        self.account = account
        timing = timing or Timing()
        self.limiter = RateLimiter(rate_limit(account, settings), engine, timing)
        policy = session_policy(account, settings)
        super().__init__(policy, MoyskladDialect(account, timing), timing, limiter=self.limiter)
        # A prefix names our own webhooks, which our writes are not to set off.
        prefix = settings.webhook_prefix
        self._writing = _JSON | ({"X-Lognex-WebHook-DisableByPrefix": prefix} if prefix else {})
        self._whose: set[str] | None = None
        self._full: errors.StorageFullError | None = None
        # How lists are sent, of one entity and of many: one after the other until the account knows one of them.
        forms = ("", "/batch") if settings.list_form == "array" else ("/batch", "")
        self._forms: dict[str, tuple[str, ...]] = {"one": forms, "many": forms}
        self._fetching = FetchPolicy(
            allowed_hosts=allowed_hosts,
            read_timeout=settings.download_timeout,
            total_deadline=settings.download_timeout,
            tries=settings.tries,
        )

    def assortment(
        self, *, ids: Sequence[str] | None = None, updated_since: datetime | None = None
    ) -> Iterator[answers.AssortmentPage]:
        """Products, bundles and variants with their images, 100 on a page.

        ids: only those, archived ones too; 100 in a list of its own each. Otherwise archived ones are left out.
        updated_since: a moment with its zone. Links that need no call are asked for where the account says it has them.
        The order is the server's: a list that changes meanwhile may skip rows, so `size` and the ids are the proof.
        """
        filters = [answers.either("type", TYPES)]
        if updated_since is not None:
            filters.append(f"updated>={answers.moscow_time(updated_since)}")
        portions = (
            [None] if ids is None else [ids[at : at + EXPANDED_LIMIT] for at in range(0, len(ids), EXPANDED_LIMIT)]
        )
        for portion in portions:
            chosen = filters if portion is None else [*filters, answers.either("id", portion)]
            params = {"filter": ";".join(chosen), **_EXPANDED}
            if self.account.permanent_links:
                params["fields"] = "downloadPermanentHref"
            yield from self._pages("entity/assortment", params, _BETA)

    def whose(self) -> frozenset[str]:
        """МойСклад's ids of the account, as the entities say it that came so far; '' is among them where one does not.

        Where none came it is asked for one, once.
        """
        if self._whose is None:
            for _ in self._pages("entity/assortment", {"limit": 1}, _BETA):
                break
        self._whose = self._whose or set()
        return frozenset(self._whose)

    def find(self, kind: EntityType, match_field: MatchField, values: Sequence[str]) -> list[Entity]:
        """The entities of a type, archived ones left out, whose field has exactly one of these values; without images.

        One call per 180 values, more when they are long. Two entities with one value are both given.
        """
        wanted = set(values)
        found: list[Entity] = []
        for portion in answers.filter_portions(match_field, list(dict.fromkeys(values))):
            chosen = answers.either(match_field, portion)
            for page in self._pages(f"entity/{kind}", {"filter": chosen, "limit": 1000, "order": "id"}, {}):
                # What the server takes for equal (upper and lower case, blanks) need not be the same value.
                found += (entity for entity in page.entities if wanted.intersection(values_of(entity, match_field)))
        return found

    def entities(self, kind: EntityType) -> list[Entity]:
        """All entities of a type, archived ones left out, without images; one call per 1,000."""
        pages = self._pages(f"entity/{kind}", {"limit": 1000, "order": "id"}, {})
        return [entity for page in pages for entity in page.entities]

    def set_images(self, kind: EntityType, entity_id: str, parts: Sequence[Part]) -> tuple[ImageRow, ...]:
        """Make these the images of an entity, in this order, and give them as the account has them now; one call.

        What is not among them is removed from it. Raises the kinds of ImagesRefusedError, EntityGoneError,
        AnswerLostError.
        """
        if not parts:
            return self._clear(kind, entity_id)
        path = f"entity/{kind}/{entity_id}/images"
        body = answers.list_body(self.account.url, kind, entity_id, parts)
        try:
            reply = self._write_list("one", path, {}, body)
        except errors.ImagesRefusedError as error:
            if error.element is None and error.column is not None:
                error.element = answers.element_at(self.account.url, kind, entity_id, parts, error.column)
            raise
        if not isinstance(reply.data, list):
            raise AnswerLostError(f"{path}: no list of images came back")
        if reply.status >= 400:
            refused = [_element_error(reply, element) for element in reply.data if answers.errors_of(element)]
            told = languages.told(f"HTTP {reply.status} with a list that names no error")
            raise refused[0] if refused else reply.error(BadAnswerError, told)
        if not reply.data:
            raise AnswerLostError(f"{path}: {len(parts)} images were sent, and an empty list came back")
        try:
            return tuple(answers.image_of(row) for row in reply.data)
        except answers.RowError as error:
            raise AnswerLostError(f"{path}: {error}") from None

    def set_images_bulk(
        self, kind: EntityType, lists: Mapping[str, Sequence[Part]]
    ) -> dict[str, tuple[ImageRow, ...] | UpstreamError]:
        """Make these the images of at most 100 entities (id to images) in one call; per id its images now, or why not.

        Where the answer leaves the rows out they are read, which is one call more. Raises what concerns all of them.
        """
        if not 0 < len(lists) <= EXPANDED_LIMIT:
            raise ValueError(f"{len(lists)} entities in one call; it may be 1 to {EXPANDED_LIMIT}")
        path = f"entity/{kind}"
        reply = self._write_list("many", path, _EXPANDED, answers.bulk_body(self.account.url, kind, lists))
        if not isinstance(reply.data, list) or len(reply.data) != len(lists):
            raise AnswerLostError(f"{path}: no list of {len(lists)} answers came back")
        results: dict[str, tuple[ImageRow, ...] | UpstreamError] = {}
        unread: list[str] = []
        for entity_id, element in zip(lists, reply.data, strict=True):
            if answers.errors_of(element):
                results[entity_id] = _element_error(reply, element)
            elif (images := answers.images_in(element, entity_id)) is not None:
                results[entity_id] = images
            else:
                unread.append(entity_id)
        if unread:
            results |= self._read_back(kind, unread)
        return results

    def download(self, row: ImageRow) -> bytes:
        """The bytes of an image, exactly as many as its row says; whether they are a picture is for others to see.

        What its row does not say is not compared. No call where the row has a permanent link that works; a link that
        expired is asked for once again. Raises EntityGoneError for an image that is gone.
        """
        if row.permanent_href:
            try:
                return self._fetched(row.permanent_href, row)
            except UpstreamError as error:
                if error.status not in _EXPIRED:
                    raise
        path = f"download/{urlsplit(row.download_href).path.rpartition('/')[2] or row.id}"
        link = self._location(path)
        try:
            return self._fetched(link, row)
        except UpstreamError as error:
            if error.status not in _EXPIRED:
                raise
        return self._fetched(self._location(path), row)

    def _fetched(self, url: str, row: ImageRow) -> bytes:
        fetched = fetch_image(url, self._fetching, timing=self._timing)
        if row.size not in (UNKNOWN_SIZE, len(fetched.body)):
            raise AlteredBodyError(
                f"{len(fetched.body)} bytes came where {row.size} are listed for {row.filename or row.id}",
                host=urlsplit(fetched.url).netloc,
                status=200,
            )
        return fetched.body

    def _location(self, path: str) -> str:
        """Where a GET is redirected to; that place is not visited."""
        answer = self.call(ApiRequest("GET", path, headers={"Accept": "*/*"}, accept=REDIRECTS))
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if answer.status not in REDIRECTS or not headers.get("location"):
            raise answer.error(
                BadAnswerError, languages.told(f"HTTP {answer.status} without the redirect that was expected")
            )
        return headers["location"]

    def _write(self, method: str, path: str, params: Mapping[str, Param], body: bytes) -> Answer:
        """Send JSON that changes something; repeated only while it surely was not carried out.

        Raises what a refusal means, and AnswerLostError when nobody knows whether it was carried out.
        """
        if self._full is not None:
            raise errors.StorageFullError(self._full.what, host=self._full.host, path=self._full.path, sent=False)
        try:
            answer = self.call(ApiRequest(method, path, params, body=body, headers=self._writing))
        except errors.StorageFullError as error:
            self._full = error
            raise
        if answer.data is None:
            raise AnswerLostError(f"{path}: HTTP {answer.status} without the JSON that tells what was written")
        return answer

    def _write_list(self, what: str, path: str, params: Mapping[str, str | int], body: bytes) -> Answer:
        """Send a list in the form that the account takes; the one that it does not know is not tried again."""
        if len(body) >= MOST_BYTES:
            raise errors.TooLargeError(
                f"the request has {len(body)} bytes, {MOST_BYTES} are too many; send less at once", sent=False
            )
        form, *others = self._forms[what]
        try:
            return self._write("POST", f"{path}{form}", params, body)
        except errors.UnknownPathError:
            if not others:
                raise
        answer = self._write("POST", f"{path}{others[0]}", params, body)
        self._forms[what] = (others[0],)
        return answer

    def _clear(self, kind: EntityType, entity_id: str) -> tuple[ImageRow, ...]:
        """Remove all images: an empty list inside the entity is documented to do so, one sent to its images is not."""
        path = f"entity/{kind}/{entity_id}"
        reply = self._write("PUT", path, _EXPANDED, orjson.dumps({"images": []}))
        images: tuple[ImageRow, ...] | UpstreamError | None = answers.images_in(reply.data, entity_id)
        if images is None:
            images = self._read_back(kind, [entity_id])[entity_id]
        if isinstance(images, UpstreamError):
            raise images
        if images:
            raise reply.error(
                BadAnswerError, languages.told(f"{len(images)} images are there after all were to be removed")
            )
        return images

    def _read_back(self, kind: EntityType, ids: Sequence[str]) -> dict[str, tuple[ImageRow, ...] | UpstreamError]:
        missing = languages.told("was written, and its images could not be read afterwards")
        results: dict[str, tuple[ImageRow, ...] | UpstreamError] = {
            entity_id: errors.RowsMissingError(f"{kind} {entity_id} {missing}") for entity_id in ids
        }
        for page in self.assortment(ids=ids):
            results |= {entity.id: entity.images for entity in page.entities if entity.images is not None}
        return results

    def _pages(
        self, path: str, params: Mapping[str, str | int], headers: Mapping[str, str]
    ) -> Iterator[answers.AssortmentPage]:
        """All pages of a list; how many there are is what the newest of them says."""
        limit, offset = int(params["limit"]), 0
        while True:
            reply = self.call(ApiRequest("GET", path, {**params, "offset": offset}, headers={**_JSON, **headers}))
            rows, size = answers.rows_of(reply)
            page = answers.page_of(rows, offset, size)
            if page.entities:
                self._whose = (self._whose or set()) | {entity.account_id for entity in page.entities}
            yield page
            offset += limit
            if not rows or offset >= size:
                return


def _element_error(reply: Answer, element: object) -> UpstreamError:
    return answers.refusal(reply.place, reply.status, element, write=True)
