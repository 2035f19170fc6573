"""What a person may choose for one run into Plytix; the launchpad and the command line explain it with these texts."""

from pydantic import BaseModel, Field


class ListingsOptions(BaseModel):
    """Where the listings come from."""

    mapping: str = Field(
        "", description="mapping file, a path or an s3:// URL; empty: every file of PLYTIX_MAPPING_FOLDER"
    )
    live: bool = Field(
        False, description="the images as Amazon's catalogue has them now; the file only says which products"
    )
    marketplace: str = Field("", description="only listings of this marketplace, such as US; empty: all")
    skus: list[str] = Field(
        [], description="only these products, such as AMZN-US-B01ABCDEFG; with live they need no mapping file"
    )


class GalleryPlanOptions(BaseModel):
    """How to plan."""

    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")
    skip_existing: bool = Field(False, description="leave products alone whose gallery holds any image")
    force_reupload: bool = Field(False, description="upload every image again, whatever we know of it")
    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")


class PlytixOptions(ListingsOptions, GalleryPlanOptions):
    """All that a person may ask of one synchronisation of an account."""


class GalleryCleanupOptions(BaseModel):
    """Against which mapping file to clean up."""

    missing_from: str = Field(description="mapping file; what we created for products that are not in it is planned")
    allow_mass_delete: bool = Field(
        False, description="let removals into the plan that the deletion limits would hold back"
    )
