"""Small pictures in the Dagster UI: what a plan or a catalogue looks like at a glance.

Never put these on a partitioned Dagster asset: Dagster copies the metadata onto the event of every partition.

The UI shows Markdown of fewer than 1,000 characters inline, and longer behind a button "Show Markdown". Twelve pictures
never fit inline when they are embedded, so there are two ways: `linked` stays inline and lets the browser fetch the
pictures; `from_urls` embeds them: it opens with a click, and works where the browser cannot reach the source.
"""

import base64
import io
from collections.abc import Callable, Collection, Sequence

import dagster as dg
from PIL import Image
from pydantic import SecretStr

from imagesync_pipelines.defs.metadata import INLINE_CHARACTERS, escape_markdown, safe_url
from imagesync_pipelines.defs.summaries import error_text

SHOWN = 12
EDGE_PIXELS = 48
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 20_000_000

_WEBP_QUALITY = 40
_HEAD = ("| | |", "|---|---|")


def linked(pictures: Sequence[tuple[str, str]]) -> dg.MarkdownMetadataValue:
    """Pictures (label, URL) that the browser fetches: as many as stay inline, twelve at most.

    A picture whose URL a browser should not open is shown by its label.
    """
    rows: list[str] = []
    for label, target in pictures[:SHOWN]:
        url = safe_url(target)
        row = _row(f"![]({url})" if url else "", label)
        if rows and sum(len(line) + 1 for line in (*_HEAD, *rows, row)) > INLINE_CHARACTERS - 40:
            break
        rows.append(row)
    return _table(rows, len(pictures))


def from_urls(
    pictures: Sequence[tuple[str, str]], fetch: Callable[[str], bytes], secrets: Collection[SecretStr] = ()
) -> dg.MarkdownMetadataValue:
    """The first twelve pictures (label, URL), fetched and embedded; each at most 48 pixels and about 500 bytes.

    A picture that cannot be fetched or decoded is told with its reason in its place: a thumbnail never fails a run.
    """
    rows: list[str] = []
    for label, url in pictures[:SHOWN]:
        try:
            body = shrink(fetch(url))
        except Exception as error:  # noqa: BLE001
            rows.append(_row(escape_markdown(f"no picture: {error_text(error, secrets)}", limit=120), label))
        else:
            rows.append(_row(f"![](data:image/webp;base64,{base64.b64encode(body).decode()})", label))
    return _table(rows, len(pictures))


def shrink(body: bytes) -> bytes:
    """A picture as WebP of at most 48 by 48 pixels. Raises ValueError or Pillow's errors for what cannot be read."""
    with Image.open(io.BytesIO(body), formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels are too many for a thumbnail")
        picture.draft("RGB", (EDGE_PIXELS, EDGE_PIXELS))
        small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((EDGE_PIXELS, EDGE_PIXELS))
    target = io.BytesIO()
    small.save(target, "WEBP", quality=_WEBP_QUALITY, method=6)
    return target.getvalue()


def _row(cell: str, label: str) -> str:
    return f"| {cell} | {escape_markdown(label, limit=40)} |"


def _table(rows: Sequence[str], total: int) -> dg.MarkdownMetadataValue:
    footer = f"\n{len(rows)} of {total:,} pictures"
    return dg.MetadataValue.md("\n".join([*_HEAD, *rows, footer]) if rows else "no pictures")
