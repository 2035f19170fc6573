"""The image database and the ERP, as `imagesync doctor` asks them: one page of one record, one row of each table."""

from collections.abc import Iterator

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.image_db.client import fetch_page, session_of
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.languages import N_
from imagesync_pipelines.products.erp import look_at_erp
from imagesync_pipelines.products.settings import missing_of_erp
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.sync.health import SECONDS, Answer, Finding, Probe, Site, State

_API = "IMAGE_API_URL, IMAGE_API_USERNAME, IMAGE_API_PASSWORD"
_ERP = N_("ERP_DATABASE_URL and its queries, or ERP_PARENTS_FILE and ERP_VARIANTS_FILE")


def probes(site: Site, settings: ImageDbSettings) -> Iterator[Probe]:
    """The image database, as soon as anything of it is set, and the ERP."""
    begun = any((settings.image_api_url, settings.image_api_username, settings.image_api_password))
    if begun:
        yield Probe("image_db source", lambda: _ask(site.shared, settings), _API, settings.image_api_url or "")
    if begun or not missing_of_erp(settings):
        yield Probe("image_db erp", lambda: Answer(look_at_erp(settings)), _ERP)


def _ask(shared: Settings, settings: ImageDbSettings) -> Answer:
    brief = settings.model_copy(update={"image_api_timeout": min(settings.image_api_timeout, SECONDS)})
    told: list[str] = []
    with session_of(brief, shared, told.append, tries=1) as session:
        page = fetch_page(session, 1, 1)
        ahead = session.ahead
    warned = [Finding(languages.told("image_db source"), "transport", State.WARNING, one) for one in told]
    return Answer(
        languages.told(f"{page.api_count:,} records, as {settings.image_api_username}"), ahead=ahead, findings=warned
    )
