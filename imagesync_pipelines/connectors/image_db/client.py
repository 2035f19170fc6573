"""The HTTP contract of the image database (docs/contracts/image_db.md): one endpoint, its pages, its end."""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from imagesync_pipelines.connectors.image_db.errors import BadPageError, PastTheEndError
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings, missing_variables
from imagesync_pipelines.settings import Settings, SettingsError, check_transport
from imagesync_pipelines.upstream.answers import load_json
from imagesync_pipelines.upstream.session import ApiRequest, BasicAuth, SessionPolicy, UpstreamSession

PATH = "all-files-and-articles/"
NOT_FOUND = 404
_PAST_THE_END = {"detail": "Invalid page."}


class PageAnswer(NamedTuple):
    """One page read over HTTP: its number and body, the API's count, the next page (None: the last), its file_ids.

    A file_id is None where it is not legible.
    """

    page: int
    body: bytes
    api_count: int
    next_page: int | None
    file_ids: tuple[str | None, ...]

    @property
    def length(self) -> int:
        """How many records it has."""
        return len(self.file_ids)


def open_session(settings: ImageDbSettings, shared: Settings, warn: Callable[[str], None]) -> UpstreamSession:
    """A session on the API; `warn` is told about plain http.

    Raises SettingsError when a variable is missing, or when plain http is refused in production.
    """
    missing = missing_variables(settings)
    if missing or settings.image_api_url is None or settings.image_api_password is None:
        raise SettingsError(f"not set: {', '.join(missing)}. Put them into .env (see .env.example).")
    warning = check_transport("IMAGE_API_URL", settings.image_api_url, shared.environment)
    if warning:
        warn(warning)
    return UpstreamSession(
        SessionPolicy(
            base_url=settings.image_api_url,
            auth=BasicAuth(settings.image_api_username or "", settings.image_api_password),
            read_timeout=settings.image_api_timeout,
            connect_timeout=min(10.0, settings.image_api_timeout),
            total_deadline=4 * settings.image_api_timeout,
            verify_tls=settings.image_api_verify_tls,
        )
    )


def count_pages(shared: Settings, settings: ImageDbSettings, warn: Callable[[str], None]) -> int:
    """How many pages the API has, as its first page predicts. Raises SettingsError, UpstreamError."""
    with open_session(settings, shared, warn) as session:
        page = fetch_page(session, 1, settings.image_api_page_size)
    return max(1, -(-page.api_count // page.length)) if page.length else 1


def fetch_page(session: UpstreamSession, page: int, page_size: int) -> PageAnswer:
    """Read one page. `page_size` is sent as is; the API ignores it (docs/contracts/image_db.md).

    Raises PastTheEndError for a page that the API does not have, BadPageError for a body that is no page, and what
    the session raises for failing calls.
    """
    params = {"page": page, "page_size": page_size}
    answer = session.call(ApiRequest("GET", PATH, params, expect_json=True, accept=frozenset({NOT_FOUND})))
    if answer.status == NOT_FOUND:
        # Any other 404 (a wrong base URL) is an error: taken for the end it would look like a short catalogue.
        if answer.data == _PAST_THE_END:
            raise PastTheEndError(f"the image database has no page {page}")
        raise BadPageError(f"{answer.url} does not exist (HTTP 404); is IMAGE_API_URL right?")
    api_count, next_page, results = _taken_apart(answer.data)
    return PageAnswer(page, answer.body, api_count, next_page, tuple(map(legible_id, results)))


def parse_page(body: bytes) -> tuple[int, int | None, list[Any]]:
    """The API's count of records, the next page (None: this is the last), and the records as received.

    Raises BadPageError for what is no JSON and for JSON that is no page.
    """
    try:
        document = load_json(body)
    except ValueError as error:
        raise BadPageError(f"the answer is not JSON, perhaps cut short: {str(error)[:100]}") from None
    return _taken_apart(document)


def _taken_apart(document: object) -> tuple[int, int | None, list[Any]]:
    if not isinstance(document, dict):
        raise BadPageError("the answer is JSON but no page: an object with count, next and results was expected")
    count, link, results = document.get("count"), document.get("next"), document.get("results")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise BadPageError("the page has no usable count: a whole number was expected")
    if not isinstance(results, list):
        raise BadPageError("the page has no usable results: a list was expected")
    if link is not None and not isinstance(link, str):
        raise BadPageError("the page has no usable next: a URL or null was expected")
    return count, next_page_of(link), results


def next_page_of(link: str | None) -> int | None:
    """The page number in a `next` link; None without a link.

    Only the query is read: the link's host and scheme are another machine's, and credentials must not follow it.
    Raises BadPageError for a link without a page number.
    """
    if link is None:
        return None
    try:
        page = int(parse_qs(urlsplit(link).query)["page"][-1])
    except (KeyError, ValueError):
        raise BadPageError("the page's next link names no page number; the scan cannot go on from it") from None
    return page


def legible_id(raw: Any) -> str | None:
    """The file_id of a raw record, valid or not; None when not even that can be read."""
    original = raw.get("original_file") if isinstance(raw, dict) else None
    file_id = original.get("file_id") if isinstance(original, dict) else None
    if isinstance(file_id, str) and file_id.isascii() and file_id.isdigit() and len(file_id) < 20:
        file_id = int(file_id)
    if isinstance(file_id, int) and not isinstance(file_id, bool) and 0 < file_id < 2**63:
        return str(file_id)
    return None
