"""What a person may choose for one run."""

from pydantic import BaseModel, Field

from imagesync_pipelines.sync.applied import ApplyOptions

# Larger than any page number of the API; a span up to here ends where the source ends.
NO_END = 10**6


class ErpOptions(BaseModel):
    """How to take over the ERP's products."""

    allow_mass_delete: bool = Field(
        default=False, description="let products become inactive even when unusually many are missing"
    )


class PagesOptions(BaseModel):
    """How to read the pages."""

    page_size: int | None = Field(default=None, description="records asked for per page; empty: IMAGE_API_PAGE_SIZE")


class RecordsOptions(BaseModel):
    """Which part to read. All empty: every stored page of the latest scan."""

    limit: int | None = Field(default=None, description="read so many pages only; such a run never removes")
    skip_pages: int = Field(default=0, description="start after this page: skip 5 with limit 3 reads pages 6 to 8")
    page_size: int | None = Field(default=None, description="records asked for per page; empty: IMAGE_API_PAGE_SIZE")
    skus: list[str] = Field(default_factory=list, description="these products only, from fresh stored pages if any")
    external_ids: list[str] = Field(default_factory=list, description="these images only, from the stored pages")

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

    replan: bool = Field(
        default=False, description="plan products again that moved since the plan, instead of refusing them"
    )
    dry_run: bool = Field(default=False, description="do nothing: the plan is made and can be looked at")


class ImageDbOptions(BaseModel):
    """What a person may ask of one synchronisation.

    What has a description is an option of the command line. external_ids: these images only, from the stored pages.
    """

    dry_run: bool = Field(False, description="stop after the plan: nothing is written to product_image")
    limit: int | None = Field(None, ge=1, description="read N pages only (never removes)")
    page_size: int | None = Field(None, ge=1, description="sent to the API as is (default: IMAGE_API_PAGE_SIZE)")
    skip_pages: int = Field(0, ge=0, description="start after page N")
    force: bool = Field(False, description="write unchanged rows too; never a wipe, pins stay")
    skus: list[str] = Field([], description="this product only; may be given several times")
    external_ids: list[str] = []
    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")


def job_for(options: ImageDbOptions) -> str:
    """The job that does what is asked: all pages, or a part of them without partitions."""
    if options.limit is not None or options.skip_pages or options.skus or options.external_ids:
        return "partial"
    return "dry_run" if options.dry_run else "sync"
