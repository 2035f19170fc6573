"""The feed for Google Merchant Center (RSS 2.0): what Google takes of the images, and what is left out and why."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from xml.sax.saxutils import escape

from imagesync_pipelines.products.export_rows import Batches, ExportRow
from imagesync_pipelines.storage.contents import OWN_PATH
from imagesync_pipelines.upstream.addresses import has_user, web_address
from imagesync_pipelines.upstream.canonical import is_signed

MOST_ADDITIONAL = 10
LONGEST_LINK = 2000
SMALLEST_SIDE, MOST_PIXELS = 100, 64_000_000
# The catalogue makes smaller copies of pictures up to this size, if CATALOGUE_DERIVATIVE_MAX_PIXELS says nothing else.
MOST_PIXELS_TO_SHRINK = 100_000_000
# Of what is left out, so many SKUs are named.
NAMED = 5
FORMATS = frozenset({"jpeg", "jpg", "png", "gif", "webp", "bmp", "tiff"})

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">
<channel>
<title>Product images</title>
<link>https://support.google.com/merchants/answer/7439882</link>
<description>Images of products, by SKU</description>
"""
# Characters that XML 1.0 has no way to write.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WEB = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?([/?#]|$)")


def write_merchant(batches: Batches) -> Iterator[bytes]:
    """A supplementary feed for Google Merchant Center, RSS 2.0: an item for each SKU that has a usable image.

    The primary is its image_link, with at most ten others. Of a parent and a variant of the same SKU the variant is
    taken. Images that Google refuses are left out, and told in a comment at the end.
    """
    yield _HEAD.encode()
    left_out = LeftOut()
    last = None
    for batch in batches:
        items = []
        left_out.note(batch)
        for (sku, _), rows in groupby(batch, key=lambda row: (row.sku, row.kind)):
            links = [feed_link(row) for row in rows if not why_unusable(row)] if sku != last else []
            if links:
                items.append(_item(sku, links))
                last = sku
        yield "".join(items).encode()
    # No comment of XML holds two hyphens together.
    told = [_xml(line).replace("-", "- ") if "--" in line else _xml(line) for line in left_out.lines()]
    comments = "".join(f"<!-- left out: {line} -->\n" for line in told)
    yield f"{comments}</channel>\n</rss>\n".encode()


def why_unusable(row: ExportRow) -> str:
    """Why Google would not take this image, as far as we know it; '' when it does."""
    link = feed_link(row)
    side = min(row.width or SMALLEST_SIDE, row.height or SMALLEST_SIDE)
    reasons = {
        "an address that needs a password": has_user(row.image_url),
        "no address of the web": _WEB.match(link) is None,
        "an address that expires": is_signed(row.image_url),
        f"an address longer than {LONGEST_LINK} characters": len(link) > LONGEST_LINK,
        "a format that Google does not take": bool(row.format) and row.format not in FORMATS,
        f"smaller than {SMALLEST_SIDE} pixels": side < SMALLEST_SIDE,
        "larger than 64 megapixels": _is_too_large(row) and smaller_copy(row) is None,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def feed_link(row: ExportRow) -> str:
    """The address as Google takes it: commas encoded; of a picture of ours that is too large, its smaller copy."""
    link = (smaller_copy(row) if _is_too_large(row) else None) or row.image_url
    return web_address(link).replace(",", "%2C")


def smaller_copy(row: ExportRow) -> str | None:
    """Where the catalogue shows a smaller copy of a picture that it serves itself; None where it makes none."""
    if _pixels(row) > MOST_PIXELS_TO_SHRINK:
        return None
    base, found, _ = row.image_url.rpartition(OWN_PATH)
    return f"{base}/media/{row.id}/web" if found and base else None


def _is_too_large(row: ExportRow) -> bool:
    return _pixels(row) > MOST_PIXELS


def _pixels(row: ExportRow) -> int:
    return (row.width or 0) * (row.height or 0)


class LeftOut:
    """The images that the feed does not have, by reason: how many, and the first SKUs."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._skus: dict[str, list[str]] = {}

    def note(self, batch: list[ExportRow]) -> None:
        """Look through some rows."""
        for row in batch:
            if reason := why_unusable(row):
                self._counts[reason] += 1
                skus = self._skus.setdefault(reason, [])
                if len(skus) < NAMED and row.sku not in skus:
                    skus.append(row.sku)

    def lines(self) -> list[str]:
        """A line for people for each reason."""
        return [f"{reason}: {count:,} (SKU {', '.join(self._skus[reason])})" for reason, count in self._counts.items()]


def _item(sku: str, links: list[str]) -> str:
    first, *others = dict.fromkeys(links)
    lines = [f"<g:id>{_xml(sku)}</g:id>", f"<g:image_link>{_xml(first)}</g:image_link>"]
    lines += [f"<g:additional_image_link>{_xml(link)}</g:additional_image_link>" for link in others[:MOST_ADDITIONAL]]
    return "<item>" + "".join(lines) + "</item>\n"


def _xml(value: str) -> str:
    return escape(_NOT_XML.sub("", value))
