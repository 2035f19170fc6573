"""Operators on the bucket, behind the back of the table: the row goes on saying what was there before.

What belongs here: one function per operator. What does not: rows (photos.py), faults on the wire (sandbox/faults.py).
"""

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.changes.bench import Bench, Mutation, choose_photo
from imagesync_pipelines.sandbox.head_office.photos import make_photo

FLIPPED = 16


def delete_object(bench: Bench, photo_id: UUID | None = None) -> Mutation:
    """The object is deleted, the row stays."""
    photo = choose_photo(bench, photo_id)
    bench.office.s3.delete_object(Bucket=bench.office.bucket, Key=photo.object_key)
    return _done("delete_object", photo, "has no object any more")


def overwrite_object(bench: Bench, photo_id: UUID | None = None, content: bytes | None = None) -> Mutation:
    """Another photo, or the given bytes, lies under the key; the row still lists the old one."""
    photo = choose_photo(bench, photo_id)
    if content is None:
        content = make_photo(bench.beginning.seed, bench.next_label(photo.sku)).content
    _put(bench, photo, content)
    return _done("overwrite_object", photo, "has another object than it lists")


def flip_object(bench: Bench, photo_id: UUID | None = None) -> Mutation:
    """Some bytes in the middle of the object are flipped; its length stays."""
    photo = choose_photo(bench, photo_id)
    content = _get(bench, photo)
    middle = len(content) // 2
    flipped = bytes(byte ^ 0xFF for byte in content[middle : middle + FLIPPED])
    _put(bench, photo, content[:middle] + flipped + content[middle + FLIPPED :])
    return _done("flip_object", photo, "has flipped bytes in its object")


def truncate_object(bench: Bench, photo_id: UUID | None = None) -> Mutation:
    """The object ends half way."""
    photo = choose_photo(bench, photo_id)
    content = _get(bench, photo)
    _put(bench, photo, content[: len(content) // 2])
    return _done("truncate_object", photo, "has half an object")


def _get(bench: Bench, photo: sa.Row[Any]) -> bytes:
    content: bytes = bench.office.s3.get_object(Bucket=bench.office.bucket, Key=photo.object_key)["Body"].read()
    return content


def _put(bench: Bench, photo: sa.Row[Any], content: bytes) -> None:
    bench.office.s3.put_object(
        Bucket=bench.office.bucket, Key=photo.object_key, Body=content, ContentType=photo.content_type
    )


def _done(operator: str, photo: sa.Row[Any], detail: str) -> Mutation:
    return Mutation(operator, photo.product_id, photo.id, (), f"{photo.sku} {detail}")
