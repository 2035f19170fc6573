"""The HTTP contract of the image database (docs/contracts/image_db.md): one endpoint, its pages, its end."""

from collections.abc import Callable

from imagesync_pipelines.connectors.image_db.errors import BadPageError, PastTheEndError
from imagesync_pipelines.connectors.image_db.records import PageAnswer, legible_id, page_parts
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings, missing_variables
from imagesync_pipelines.products.erp import look_at_files
from imagesync_pipelines.settings import Settings, SettingsError, check_transport
from imagesync_pipelines.upstream.session import ApiRequest, BasicAuth, SessionPolicy, UpstreamSession

PATH = "all-files-and-articles/"
NOT_FOUND = 404
# Attempts of one call before it counts as failed.
TRIES = 4


def open_session(settings: ImageDbSettings, shared: Settings, warn: Callable[[str], None]) -> UpstreamSession:
    """A session on the API for a run, which needs the ERP's products too; `warn` is told about plain http.

    Raises SettingsError when a variable is missing, or when plain http is refused in production; ErpError when a file
    of the ERP is missing or broken, so that this is told before the first call.
    """
    session = session_of(settings, shared, warn)
    look_at_files(settings)
    return session


def session_of(
    settings: ImageDbSettings, shared: Settings, warn: Callable[[str], None], *, tries: int = TRIES
) -> UpstreamSession:
    """A session on the API, whatever the ERP is like.

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
            tries=tries,
        )
    )


def count_pages(shared: Settings, settings: ImageDbSettings, warn: Callable[[str], None]) -> int:
    """How many pages the API has, as its first page predicts. Raises SettingsError, ErpError, UpstreamError."""
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
        if answer.data == {"detail": "Invalid page."}:
            raise PastTheEndError(f"the image database has no page {page}")
        raise BadPageError(f"{answer.url} does not exist (HTTP 404); is IMAGE_API_URL right?")
    api_count, next_page, results = page_parts(answer.data)
    return PageAnswer(page, answer.body, api_count, next_page, tuple(map(legible_id, results)))
