"""The switches of МойСклад's stand-in: what no source settles, one switch per point of contract section 16.

What belongs here: their meaning and their usual position. What does not: what they do (the modules that read them).
"""

from dataclasses import dataclass
from enum import StrEnum


class Window(StrEnum):
    """How the 45 units of 3 s are counted."""

    FIXED = "fixed"  # a window begins with the first call after the one before has ended
    SLIDING = "sliding"  # any 3 s
    LEAKY = "leaky"  # what was used drains evenly, 15 units a second


class BadElement(StrEnum):
    """What an array of images with one bad element does."""

    NOTHING = "nothing"  # refused as a whole, the list stays
    REST = "rest"  # the good ones become the list; the answer does not mention the bad one


class BadElementNamed(StrEnum):
    """How the error for an array of images tells which element was bad."""

    NOT = "not"
    PARAMETER = "parameter"  # "parameter": "[3].content"
    COLUMN = "column"  # "line" and "column" of the element in the body, from 1


class EmptyArray(StrEnum):
    """What an empty array does that is posted to `/images`."""

    REFUSED = "refused"  # 1027
    CLEARS = "clears"


class IdScope(StrEnum):
    """Within what the same name and bytes have the same image id."""

    ENTITY = "entity"
    ACCOUNT = "account"


class SameMeta(StrEnum):
    """What an array does that keeps the same image twice by meta."""

    TWICE = "twice"
    ONCE = "once"
    REFUSED = "refused"  # 3013


class FreeTariff(StrEnum):
    """What an account without permanent links answers to `fields=downloadPermanentHref`."""

    ABSENT = "absent"
    REFUSED = "refused"  # 1070


class TooLarge(StrEnum):
    """Who refuses a body above the limit, always with 413."""

    PROXY = "proxy"  # a page of HTML
    API = "api"  # 1044


@dataclass
class Switches:
    """May be changed while the stand-in runs."""

    image_megabytes: float = 3  # the largest image, in units of 1,000,000 bytes; 51004 names it
    body_bytes: int = 20_000_000  # the largest body
    too_large: TooLarge = TooLarge.PROXY
    image_error_status: int = 412  # the status of 51001 to 51006
    bad_element: BadElement = BadElement.NOTHING
    bad_element_named: BadElementNamed = BadElementNamed.NOT
    empty_array: EmptyArray = EmptyArray.REFUSED
    image_write_bumps_updated: bool = True
    image_write_fires_webhook: bool = True
    image_field_name: str = "images"  # what `updatedFields` of a webhook calls a change of images
    id_scope: IdScope = IdScope.ENTITY
    id_kept_after_delete: bool = False  # an image that is added again has the id it had before
    same_meta: SameMeta = SameMeta.TWICE
    foreign_meta_adds: bool = False  # a meta of another entity's image in the same account adds it; else 3033
    other_formats: bool = False  # GIF, WEBP and BMP are taken; else 51002
    bulk_inline_images: bool = True  # `images` in the elements of a bulk write are set; else ignored
    inline_keep_by_meta: bool = True  # inline `images` may keep by meta; else 2013
    mixed_bulk_status: int = 400  # the status of a bulk answer that has both entities and errors
    bulk_most: int | None = None  # a bulk stops at the 5 minutes after so many elements: they are written, it is 1088
    free_tariff: FreeTariff = FreeTariff.ABSENT
    head_of_download: int = 302  # the status of HEAD on /download
    download_costs: bool = True  # /download costs a call's units
    variant_shows_parent: bool = False  # a variant without images of its own lists its product's
    old_images_downloadable: bool = False  # an image that no entity shows any more can still be downloaded
    window: Window = Window.FIXED
    seconds_per_call: float = 0.0  # real seconds that a call is worked on, so that calls overlap
