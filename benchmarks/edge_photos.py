"""Photos for the measurements of the edge: real JPEGs of about one size in a folder that the object store serves."""

import hashlib
import io
import random
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from PIL import Image

from imagesync_pipelines.connectors.edge.model import Photo

_START = datetime(2026, 1, 1, tzinfo=UTC)
_DIFFERENT = 20


def make_photos(bucket: Path, number: int, size: int) -> list[Photo]:
    """Write `number` photos of about `size` bytes into the bucket's folder; no two have the same bytes.

    Twenty pictures are drawn; the others are these with a comment of their own before the JPEG's data.
    """
    drawn = [_draw(seed, size) for seed in range(min(number, _DIFFERENT))]
    photos = []
    for nth in range(number):
        body = _with_comment(drawn[nth % len(drawn)], f"photo {nth}")
        photo = photo_at(nth, hashlib.md5(body).hexdigest(), len(body))
        path = bucket / photo.object_key
        path.parent.mkdir(parents=True)
        path.write_bytes(body)
        photos.append(photo)
    return photos


def photo_at(nth: int, checksum: str, size: int) -> Photo:
    """The listing of the photo of product `nth`."""
    product_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"product {nth}"))
    return Photo(
        photo_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"photo {nth}")),
        product_id=product_id,
        product_sku=f"{nth:08d}",
        product_name=f"Product {nth}",
        object_key=f"products/{product_id}/primary.jpg",
        filename=f"Menu_Image_{nth:014d}.jpg",
        size=size,
        content_type="image/jpeg",
        checksum=checksum,
        version=1,
        is_primary=True,
        sort_order=0,
        updated_at=_START + timedelta(seconds=nth),
        image_url="",
    )


def _draw(seed: int, size: int) -> bytes:
    """A JPEG of about `size` bytes: noise in blocks, as fine as the size needs."""
    noise, side = random.Random(seed), 1100
    blocks = Image.frombytes("RGB", (side // 4, side // 4), noise.randbytes((side // 4) ** 2 * 3))
    picture = blocks.resize((side, side), Image.Resampling.BILINEAR)
    low, high = 5, 95
    while low < high:
        quality = (low + high) // 2
        if len(_jpeg(picture, quality)) < size:
            low = quality + 1
        else:
            high = quality
    return _jpeg(picture, low)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _with_comment(body: bytes, text: str) -> bytes:
    """The same picture with a comment segment after its first marker."""
    comment = text.encode()
    return body[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + body[2:]


def keep_photos(photos: list[Photo], path: Path) -> None:
    """Write a listing for other processes."""
    path.write_bytes(orjson.dumps([photo._asdict() for photo in photos]))


def read_photos(path: Path) -> list[Photo]:
    """The listing that keep_photos wrote."""
    return [Photo.from_payload(payload) for payload in orjson.loads(path.read_bytes())]
