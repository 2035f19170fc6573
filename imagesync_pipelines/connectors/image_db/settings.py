"""The settings of the image database, from the environment and `.env`, and what a person may choose for one run."""

from pydantic import BaseModel, Field, SecretStr

from imagesync_pipelines.products.settings import ErpSettings, ShowingSettings, missing_of_erp
from imagesync_pipelines.settings import Cron
from imagesync_pipelines.sync.carry_out import ApplyOptions

# Larger than any page number of the API; a span up to here ends where the source ends.
NO_END = 10**6


class ImageDbSettings(ErpSettings, ShowingSettings):
    """What the image database connector needs to know; every field is the variable of the same name in capitals."""

    image_api_url: str | None = Field(None, description="base URL of the image database's API, e.g. https://host/api/")
    image_api_username: str | None = Field(None, description="user of the API (HTTP Basic)")
    image_api_password: SecretStr | None = Field(None, description="password of the API (HTTP Basic)")
    image_api_timeout: float = Field(30, gt=0, description="seconds to wait for one answer")
    image_api_cache_enabled: bool = Field(True, description="--sku, re-planning and the web may use stored pages")
    image_api_cache_timeout: float = Field(3600, ge=0, description="seconds after which --sku warns of a scan's age")
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
    needed = ("image_api_url", "image_api_username", "image_api_password")
    return (*(name.upper() for name in needed if getattr(settings, name) is None), *missing_of_erp(settings))


class ErpOptions(BaseModel):
    """How to take over the ERP's products."""

    allow_products_gone: bool = Field(
        default=False, description="let products leave with their images even when unusually many are gone from the ERP"
    )
    dry_run: bool = Field(default=False, description="only look: no product is written, nothing is noted as held")


class PagesOptions(BaseModel):
    """How to read the pages."""

    page_size: int | None = Field(None, ge=1, description="sent to the API as is (default: IMAGE_API_PAGE_SIZE)")


class RecordsOptions(PagesOptions):
    """Which part to read. All empty: every stored page of the latest scan."""

    limit: int | None = Field(default=None, description="read N pages only (never removes)")
    skip_pages: int = Field(default=0, ge=0, description="start after page N: skip 5 with limit 3 reads pages 6 to 8")
    skus: list[str] = Field(
        default=[], description="this product only, from the newest proven scan if any; may be several"
    )
    external_ids: list[str] = Field(default=[], description="these images only, from the stored pages")

    def span(self) -> range | None:
        """The pages asked for: skip 5 with limit 3 is pages 6 to 8; None when no part of the pages was asked for."""
        if self.limit is None and not self.skip_pages:
            return None
        first = self.skip_pages + 1
        return range(first, first + self.limit if self.limit is not None else NO_END)


class ProductImagePlanOptions(BaseModel):
    """How to plan."""

    force: bool = Field(default=False, description="write unchanged rows too; never a wipe, pins stay")
    allow_mass_delete: bool = Field(
        default=False, description="let removals happen that the deletion limits would hold back"
    )
    dry_run: bool = Field(
        default=False, description="only to be looked at: the plan is carried out by its number alone"
    )


class ProductImageOptions(ApplyOptions):
    """Which plan to apply, and how."""

    replan: bool = Field(False, description="plan products again that moved since the plan, instead of refusing them")
    dry_run: bool = Field(default=False, description="do nothing: the plan is made and can be looked at")


class ImageDbOptions(ProductImagePlanOptions, RecordsOptions, ErpOptions):
    """What a person may ask of one synchronisation; what has a description is an option of the command line."""

    dry_run: bool = Field(default=False, description="stop after the plan: no product and no image is written")
    limit: int | None = Field(default=None, ge=1, description="read N pages only (never removes)")
    external_ids: list[str] = Field(default=[])


def job_for(options: ImageDbOptions) -> str:
    """The job that does what is asked: all pages, or a part of them without partitions."""
    if not options.skus and options.limit is None and not options.skip_pages and not options.external_ids:
        return "dry_run" if options.dry_run else "sync"
    part = "skus" if options.skus else "partial"
    return f"{part}_dry_run" if options.dry_run else part
