"""What an answer to a write means that is not what was asked for (contract plytix.md, sections 5, 7 and 8).

What belongs here: refusals as named errors, lost answers, assets that are no pictures. What does not: calls (pim.py),
reading an answer's fields (fields.py).
"""

from collections.abc import Mapping
from typing import Any

from imagesync_pipelines.connectors.plytix.api.fields import refused_fields, row_in, server_words
from imagesync_pipelines.connectors.plytix.errors import (
    AssetGoneError,
    AttributeUnknownError,
    ImageRefusedError,
    NotAllowedError,
    ProductGoneError,
    WriteRefusedError,
)
from imagesync_pipelines.connectors.plytix.model import Asset
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import UpstreamError

FORBIDDEN = "HTTP 403: this account may not do that; check its rights in Plytix"
# Less than this is no picture of a product: Amazon's empty pixel has 43 bytes.
_SMALLEST_PICTURE = 100


def written_row(reply: Answer) -> Mapping[str, Any]:
    """The row that a write answered with. Raises AnswerLostError without one: nobody knows what was written."""
    try:
        return row_in(reply)
    except UpstreamError as error:
        raise AnswerLostError(str(error)) from None


def check_is_picture(reply: Answer, row: Mapping[str, Any], asset: Asset) -> None:
    """Raise ImageRefusedError for an asset that is no picture:

    Plytix takes whatever a URL gives, HTML and pixels too.
    """
    kind = row.get("content_type")
    if isinstance(kind, str) and kind and not kind.lower().startswith("image/"):
        raise reply.error(
            ImageRefusedError, f"the URL gave {kind[:60]} where a picture was expected (asset {asset.id})"
        )
    if asset.size is not None and asset.size < _SMALLEST_PICTURE:
        raise reply.error(ImageRefusedError, f"the URL gave {asset.size} bytes, which is no picture (asset {asset.id})")


def refusal_of(reply: Answer, product_id: str, label: str, asset_id: str | None) -> UpstreamError:
    """What the refusal of a write means, by its status and by the fields that it names."""
    fields = refused_fields(reply.data)
    words = server_words(reply.data)
    if reply.status == 403:
        return reply.error(NotAllowedError, FORBIDDEN)
    if reply.status == 404 and "asset.id" in fields:
        return reply.error(AssetGoneError, f"there is no asset {asset_id}")
    if reply.status == 404:
        return reply.error(ProductGoneError, f"there is no product {product_id}")
    if reply.status == 422 and "label does not exist" in words:
        return reply.error(AttributeUnknownError, f"product {product_id} has no attribute {label}; check its family")
    return reply.error(WriteRefusedError, f"refused to change product {product_id} (HTTP {reply.status}): {words}")
