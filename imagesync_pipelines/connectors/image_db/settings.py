"""The settings of the image database, read from the environment and from `.env`."""

from pydantic import Field, SecretStr

from imagesync_pipelines.products.settings import ErpSettings, ShowingSettings, missing_of_erp
from imagesync_pipelines.settings import Cron


class ImageDbSettings(ErpSettings, ShowingSettings):
    """What the image database connector needs to know; every field is the variable of the same name in capitals."""

    image_api_url: str | None = Field(None, description="base URL of the image database's API, e.g. https://host/api/")
    image_api_username: str | None = Field(None, description="user of the API (HTTP Basic)")
    image_api_password: SecretStr | None = Field(None, description="password of the API (HTTP Basic)")
    image_api_timeout: float = Field(30, gt=0, description="seconds to wait for one answer")
    image_api_cache_enabled: bool = Field(True, description="--sku, re-planning and the web may use stored pages")
    image_api_cache_timeout: float = Field(3600, ge=0, description="seconds for which a stored page counts as fresh")
    image_api_verify_tls: bool = Field(True, description="check the API's certificate")
    image_api_concurrency: int = Field(4, ge=1, le=32, description="pages read at the same time")
    image_api_pause: float = Field(0, ge=0, description="seconds between the starts of two calls")
    image_api_page_size: int = Field(100, ge=1, description="records asked for per page; the API may ignore it")

    image_db_pages_per_block: int = Field(10, ge=1, description="consecutive pages in one partition")
    image_db_walk_max_seconds: float = Field(3600, gt=0, description="a scan that took longer proves nothing")
    image_db_walk_repeats: int = Field(2, ge=0, description="further scans when one does not prove to be complete")
    image_db_confirm_removals: bool = Field(
        True, description="before images are removed, read all pages again: a record can hide between two pages"
    )
    image_db_schedule: Cron = Field("0 3 * * *", description="when the daily run starts (cron, in IMAGESYNC_TIMEZONE)")

    image_db_max_unmatched_share: float = Field(0.2, ge=0, le=1, description="article links that may have no product")
    image_db_max_reject_share: float = Field(0.01, ge=0, le=1, description="records that may be set aside")


def missing_variables(settings: ImageDbSettings) -> tuple[str, ...]:
    """The variables without which this connector cannot run; empty when it can. Its schedule stays off until then."""
    needed = {
        "IMAGE_API_URL": settings.image_api_url,
        "IMAGE_API_USERNAME": settings.image_api_username,
        "IMAGE_API_PASSWORD": settings.image_api_password,
    }
    return (*(name for name, value in needed.items() if value is None), *missing_of_erp(settings))
