"""A supplementary feed for Google Merchant Center: the images of every product, by its SKU."""

import re
from collections.abc import Iterator
from itertools import groupby
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from imagesync_pipelines.products.exports.rows import Batches, ExportRow

MOST_ADDITIONAL = 10
LONGEST_LINK = 2000
SMALLEST_SIDE = 100
FORMATS = frozenset({"jpeg", "jpg", "png", "gif", "webp", "bmp", "tiff"})

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">
<channel>
<title>Product images</title>
<link>https://support.google.com/merchants/answer/7439882</link>
<description>Images of products, by SKU</description>
"""
_TAIL = "</channel>\n</rss>\n"
# Characters that XML 1.0 has no way to write.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_merchant(batches: Batches) -> Iterator[bytes]:
    """RSS 2.0: an item for each SKU that has a usable image, the primary as image_link, at most ten others.

    Of a parent and a variant of the same SKU the variant is taken. Images that Google refuses are left out.
    """
    yield _HEAD.encode()
    last = None
    for batch in batches:
        items = []
        for (sku, _), rows in groupby(batch, key=lambda row: (row.sku, row.kind)):
            links = [row.image_url for row in rows if is_usable(row)] if sku != last else []
            if links:
                items.append(_item(sku, links))
                last = sku
        yield "".join(items).encode()
    yield _TAIL.encode()


def is_usable(row: ExportRow) -> bool:
    """Whether Google takes this image, as far as we know it."""
    try:
        parts = urlsplit(row.image_url)
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.netloc)
        and len(row.image_url) <= LONGEST_LINK
        and (not row.format or row.format in FORMATS)
        and min(row.width or SMALLEST_SIDE, row.height or SMALLEST_SIDE) >= SMALLEST_SIDE
    )


def _item(sku: str, links: list[str]) -> str:
    first, *others = dict.fromkeys(links)
    lines = [f"<g:id>{_text(sku)}</g:id>", f"<g:image_link>{_text(first)}</g:image_link>"]
    lines += [f"<g:additional_image_link>{_text(link)}</g:additional_image_link>" for link in others[:MOST_ADDITIONAL]]
    return "<item>" + "".join(lines) + "</item>\n"


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("", value))
