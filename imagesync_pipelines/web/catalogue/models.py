"""What is said about products and their images: the API's answers and requests, with examples.

Pages show the same; what only they need is left out of every answer (`exclude`). The first lines of the classes are
for readers of the OpenAPI document.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from imagesync_pipelines.upstream.addresses import web_address, without_users
from imagesync_pipelines.web.service import Text

LARGEST_ID = 2**63 - 1
MOST_SKUS = 500
LENDER = "the SKU of the product that lends its images, '' when they are its own"

Sku = Annotated[Text, Field(min_length=1, max_length=50, examples=["803721"])]
Kind = Literal["parent", "variant"]


def _file_name(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError:
        return ""


# However its source writes it: an address as everybody takes it, without a user name.
Address = Annotated[str, AfterValidator(web_address)]


class Image(BaseModel):
    """A product image. product_id is that of the product that it is on, which may lend it to another."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(examples=[4711])
    product_id: int = Field(examples=[12])
    external_id: str = Field(description="its id in the image database", examples=["930363"])
    image_url: Address = Field(examples=["https://media.example.com/930363_g.jpg"])
    thumbnail_url: Address | None = Field(examples=["https://media.example.com/930363.png"])
    image_type: str = Field(examples=["Produktfoto"])
    is_primary: bool = Field(description="the one shown first of those on its product")
    is_front: bool
    priority: int = Field(description="1 is shown before 5", examples=[1])
    alt_text: str = Field(examples=["Engel - Produktfoto"])
    width: int | None = Field(description="pixels", examples=[1920])
    height: int | None = Field(description="pixels", examples=[1280])
    format: str | None = Field(examples=["jpeg"], validation_alias="image_format")
    file_name: Annotated[str, AfterValidator(_file_name)] = Field(
        examples=["930363_g.jpg"], validation_alias="image_url"
    )
    original_url: Address | None = Field(
        description="the file that it was made from; it may be no picture for browsers"
    )
    source: str = Field(description="how it came into the image database", examples=["Desktop app"])
    matched_by: str = Field(description="the rule that found its product", examples=["variant sku"])
    chosen_because: str = Field(description="why this file of it is shown", examples=["large enough"])
    last_synced: datetime = Field(description="when what we know of it last changed")
    connector: str = Field(exclude=True)
    newest_export: datetime | None = Field(exclude=True)
    place: int | None = Field(None, exclude=True)
    fingerprint: str = Field(exclude=True)

    @property
    def version(self) -> str:
        """Changes whenever the picture may have changed: a part of the addresses of its smaller copies."""
        return self.fingerprint[:12]


class ImageWithMetadata(Image):
    """A product image with its record in the image database, as it came."""

    metadata: Annotated[dict[str, Any], AfterValidator(without_users)]


class ListedProduct(BaseModel):
    """A product in a list, with the image that stands for it."""

    id: int = Field(examples=[12])
    sku: str = Field(examples=["803721"])
    kind: Kind
    name: str = Field(examples=["Engel"])
    is_active: bool
    primary: Image | None = Field(description="null: there is nothing to show")
    image_count: int = Field(description="images that are shown for it", examples=[3])
    images_from: str = Field(description=LENDER)


class ProductPage(BaseModel):
    """A page of products in the order of their SKUs."""

    items: list[ListedProduct]
    next_cursor: str | None = Field(description="for the next page; null on the last one")


class Pin(BaseModel):
    """A person's or system's choice of the primary image; dormant while the product does not have that image."""

    external_id: str
    pinned_by: str = Field(examples=["anna"])
    pinned_at: datetime
    is_dormant: bool


class PictureOrder(BaseModel):
    """That a person put the product's own images in order, which `images` follows."""

    model_config = ConfigDict(from_attributes=True)

    ordered_by: str = Field(examples=["anna"])
    ordered_at: datetime


class FamilyMember(BaseModel):
    """A parent or a variant of a product."""

    id: int
    sku: str
    name: str
    variant_code: str | None = Field(examples=["BE"])
    parent_id: int | None = Field(exclude=True)
    image: Image | None = Field(exclude=True)


class Product(ListedProduct):
    """A product with everything but the list of its images."""

    left_erp_at: datetime | None = Field(description="since when the ERP no longer has it")
    variant_code: str | None = Field(examples=["BE"])
    legacy_sku: str | None = Field(examples=["11400-BE"])
    base_sku: str | None = Field(examples=["11400"])
    updated_at: datetime
    parent: FamilyMember | None
    variants: list[FamilyMember] = Field(description="of a parent; empty for a variant")
    pin: Pin | None
    order: PictureOrder | None
    # The variants, or the parent's; then the images that are shown, the product that they are on when it is another
    # one, how many the product has itself, and rows of unmatched_article that may mean it.
    family: list[FamilyMember] = Field(exclude=True)
    images: list[Image] = Field(exclude=True)
    lent_by: FamilyMember | None = Field(exclude=True)
    own: int = Field(exclude=True)
    candidates: Sequence[Any] = Field(exclude=True)


class ProductImages(BaseModel):
    """The images that are shown for a product, the primary first."""

    product_id: int = Field(examples=[12])
    sku: str = Field(examples=["803721"])
    images_from: str = Field(description=LENDER)
    images: list[Image]


class HistoryLine(BaseModel):
    """What became of one image in one system."""

    at: datetime
    connector: str = Field(examples=["moysklad"])
    account: str = Field(description="'' where the connector has none", examples=["north"])
    image: str = Field(description="what the image is called there", examples=["930363"])
    change: str = Field(
        description="add, update or remove; pin, unpin, order and other words of people", examples=["add"]
    )
    what: str = Field(description="the same in words", examples=["added"])
    before: str = Field(description="the picture before, '' for none", examples=[""])
    after: str = Field(description="the picture after, '' for none", examples=["930363_g.jpg 1920 × 1280"])
    why: str = Field(examples=["new"])
    lost: str = Field(description="why it cannot be brought back, '' when it can")
    person: str | None = Field(description="who did it, or started the run, as far as known")
    run_id: str | None = Field(description="null: a person did it by hand")
    undoes_run: str | None = Field(description="the run that was taken back by it")


class ProductHistory(BaseModel):
    """What was done to the images of a product in any system, the newest first."""

    product_id: int = Field(examples=[12])
    sku: str = Field(examples=["803721"])
    known_since: datetime = Field(description="of what was done until then nothing may be known")
    is_cut: bool = Field(description="there are older ones")
    items: list[HistoryLine]


class Lookup(BaseModel):
    """The SKUs that are looked up."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"skus": ["803721", "804113"]}]})

    skus: list[Sku] = Field(min_length=1, max_length=MOST_SKUS)


class FoundProducts(BaseModel):
    """What a lookup found, in the order asked for, every SKU once."""

    items: list[ProductImages]
    unknown: list[str] = Field(description="SKUs that no product has")


class ImageChange(BaseModel):
    """A product of which something that the API says changed, at the latest at this moment."""

    product_id: int = Field(examples=[12])
    sku: str = Field(examples=["803721"])
    changed_at: datetime
    left_erp_at: datetime | None = Field(description="since when the ERP no longer has it")


class ChangePage(BaseModel):
    """A page of changed products, the earliest change first."""

    items: list[ImageChange]
    has_more: bool = Field(description="more can be had now")
    next_cursor: str = Field(description="keep it: the next call with it, now or tomorrow, goes on here")


class ChosenImage(BaseModel):
    """The image that is to be the primary one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"image_id": 4711}]})

    image_id: int = Field(ge=1, le=LARGEST_ID, strict=True, description="`id` of an image that is on this product")
