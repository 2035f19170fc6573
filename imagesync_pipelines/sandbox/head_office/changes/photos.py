"""Operators on photos: what head office's people do to them, as contract section 5 saw it.

What belongs here: one function per operator on photo rows. What does not: products, brands and stores (scope.py),
objects behind the rows' backs (objects.py).
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.beginning import SKU_STEP
from imagesync_pipelines.sandbox.head_office.changes.bench import (
    Bench,
    Mutation,
    MutationError,
    choose_photo,
    choose_product,
    writing,
)
from imagesync_pipelines.sandbox.head_office.filling import checksum_of
from imagesync_pipelines.sandbox.head_office.photos import CONTENT_TYPES, JPEG, PhotoFile, make_photo
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.photos import put_photo

STALE = checksum_of(b"some other photo")


def replace(bench: Bench, product_id: UUID | None = None, kind: str | None = None) -> Mutation:
    """A product's photo is uploaded anew: other bytes, a new id, the same kind unless one (jpg, png, webp) is named.

    In the original, and when silent, the version is 1 again, and the key stays the same if the kind does.
    """
    product = choose_product(bench, product_id)
    kind = kind if kind is not None else _kind_of(bench, product.id)
    file = make_photo(bench.beginning.seed, bench.next_label(product.sku), kind)
    if bench.silent:
        return _upload(bench, "replace", product, file)
    with bench.office.engine.connect() as connection:
        gone = tuple(connection.scalars(sa.select(t.photo.c.id).where(t.photo.c.product_id == product.id)))
    name = _filename(bench.office.clock(), file)
    photo_id = put_photo(bench.office, product.id, file.content, filename=name, content_type=file.content_type)
    return Mutation("replace", product.id, photo_id, gone, f"{product.sku} has a new photo")


def replace_with(
    bench: Bench, content: bytes, content_type: str = "image/jpeg", product_id: UUID | None = None
) -> Mutation:
    """As `replace`, with bytes that head office took without looking: HTML, a bomb, half a photo. The checksum fits."""
    kinds = {content_type: kind for kind, content_type in CONTENT_TYPES.items()}
    file = PhotoFile(content, content_type, kinds.get(content_type, JPEG))
    return _upload(bench, "replace_with", choose_product(bench, product_id), file)


def add(bench: Bench, kind: str = JPEG, brand_id: UUID | None = None) -> Mutation:
    """A new product with a photo; of the first brand if none is named."""
    product_id, sku = _new_product(bench, brand_id)
    file = make_photo(bench.beginning.seed, bench.next_label(sku), kind)
    photo_id, key = bench.uuid(), f"products/{product_id}/primary.{kind}"
    _put(bench, key, file)
    with writing(bench, product_id) as (connection, stamp):
        _insert_product(bench, connection, product_id, sku, brand_id)
        _insert(connection, stamp, photo_id, product_id, key, file)
    return Mutation("add", product_id, photo_id, (), f"new product {sku} with {key}")


def late_commit(bench: Bench, seconds: float = 300.0) -> Mutation:
    """A new product's photo appears now, with an `updated_at` of so many seconds ago: its transaction took that long.

    Never told: head office's own service writes one transaction after the other, so that this cannot happen to it.
    """
    product_id, sku = _new_product(bench, None)
    file = make_photo(bench.beginning.seed, bench.next_label(sku))
    photo_id, key = bench.uuid(), f"products/{product_id}/primary.{JPEG}"
    _put(bench, key, file)
    with bench.office.engine.begin() as connection:
        stamp = bench.office.clock() - timedelta(seconds=seconds)
        _insert_product(bench, connection, product_id, sku, None)
        _insert(connection, stamp, photo_id, product_id, key, file)
    return Mutation("late_commit", product_id, photo_id, (), f"{sku} is there now, stamped {seconds:g} s ago")


def second_primary(bench: Bench, product_id: UUID | None = None) -> Mutation:
    """An admin adds a second photo to a product and makes it primary as well."""
    product = choose_product(bench, product_id)
    file = make_photo(bench.beginning.seed, bench.next_label(product.sku))
    photo_id = bench.uuid()
    key = f"products/{product.id}/{photo_id.hex[:8]}_second.{file.extension}"
    _put(bench, key, file)
    with writing(bench, product.id) as (connection, stamp):
        _insert(connection, stamp, photo_id, product.id, key, file)
    return Mutation("second_primary", product.id, photo_id, (), f"{product.sku} has two primary photos")


def excel_import(
    bench: Bench, product_id: UUID | None = None, *, instead: bool = False, filename: str = "import.jpg"
) -> Mutation:
    """An import makes a photo without object, checksum and size; with `instead` it first deletes the product's rows.

    The original gives such a photo a relative URL, or none without a file name.
    """
    product = choose_product(bench, product_id)
    photo_id = bench.uuid()
    gone: tuple[UUID, ...] = ()
    with writing(bench, product.id) as (connection, stamp):
        if instead:
            gone = _delete_rows(connection, product.id)
        connection.execute(
            t.photo.insert().values(
                id=photo_id,
                product_id=product.id,
                filename=filename,
                is_primary=instead,
                updated_at=stamp,
            )
        )
    return Mutation("excel_import", product.id, photo_id, gone, f"{product.sku} has a photo without an object")


def delete_row(bench: Bench, photo_id: UUID | None = None) -> Mutation:
    """The delete button: the row goes, the object stays in the bucket."""
    photo = choose_photo(bench, photo_id)
    with writing(bench, photo.product_id) as (connection, _):
        connection.execute(t.photo.delete().where(t.photo.c.id == photo.id))
    return Mutation("delete_row", photo.product_id, None, (photo.id,), f"the photo of {photo.sku} is deleted")


def edit(
    bench: Bench, photo_id: UUID | None = None, sort_order: int | None = None, is_primary: bool | None = None
) -> Mutation:
    """An admin edits sort_order or is_primary, or by default raises sort_order by one; the bytes stay."""
    photo = choose_photo(bench, photo_id)
    if sort_order is None and is_primary is None:
        sort_order = photo.sort_order + 1
    values: dict[str, Any] = {"sort_order": sort_order, "is_primary": is_primary}
    return _set(bench, "edit", photo, {name: value for name, value in values.items() if value is not None})


def stale_checksum(bench: Bench, photo_id: UUID | None = None) -> Mutation:
    """The row lists a checksum that its object does not have."""
    return _set(bench, "stale_checksum", choose_photo(bench, photo_id), {"checksum": STALE})


def wrong_size(bench: Bench, photo_id: UUID | None = None, more: int = 100) -> Mutation:
    """The row lists a size that is wrong by so many bytes, up or down."""
    photo = choose_photo(bench, photo_id)
    return _set(bench, "wrong_size", photo, {"size": photo.size + more})


def _set(bench: Bench, operator: str, photo: sa.Row[Any], values: dict[str, Any]) -> Mutation:
    with writing(bench, photo.product_id) as (connection, stamp):
        connection.execute(t.photo.update().where(t.photo.c.id == photo.id).values(**values, updated_at=stamp))
    told = ", ".join(f"{name} {value}" for name, value in values.items())
    return Mutation(operator, photo.product_id, photo.id, (), f"{photo.sku}: {told}")


def _upload(bench: Bench, operator: str, product: sa.Row[Any], file: PhotoFile) -> Mutation:
    """All rows and objects of the product go, one new row and object come (contract section 5)."""
    photo_id, key = bench.uuid(), f"products/{product.id}/primary.{file.extension}"
    _put(bench, key, file)
    with writing(bench, product.id) as (connection, stamp):
        keys = set(connection.scalars(sa.select(t.photo.c.object_key).where(t.photo.c.product_id == product.id)))
        gone = _delete_rows(connection, product.id)
        _insert(connection, stamp, photo_id, product.id, key, file)
    for old in keys - {key, ""}:
        bench.office.s3.delete_object(Bucket=bench.office.bucket, Key=old)
    return Mutation(operator, product.id, photo_id, gone, f"{product.sku} has a new photo under {key}")


def _kind_of(bench: Bench, product_id: UUID) -> str:
    """The kind that the product's photo has now; JPEG when it has none."""
    query = sa.select(t.photo.c.object_key).where(t.photo.c.product_id == product_id, t.photo.c.object_key != "")
    with bench.office.engine.connect() as connection:
        key = connection.scalar(query.order_by(t.photo.c.is_primary.desc(), t.photo.c.id).limit(1))
    return str(key).rpartition(".")[2] if key else JPEG


def _new_product(bench: Bench, brand_id: UUID | None) -> tuple[UUID, str]:
    if brand_id is not None and brand_id not in {brand.id for brand in bench.beginning.brands}:
        raise MutationError(f"there is no brand {brand_id}")
    with bench.office.engine.connect() as connection:
        last = connection.scalar(sa.select(sa.func.max(t.product.c.sku)))
    return bench.uuid(), f"{int(last or 0) + SKU_STEP:08}"


def _insert_product(bench: Bench, connection: sa.Connection, product_id: UUID, sku: str, brand_id: UUID | None) -> None:
    connection.execute(
        t.product.insert().values(
            id=product_id, brand_id=brand_id or bench.beginning.brands[0].id, sku=sku, name=f'New dish "{sku}" été'
        )
    )


def _insert(
    connection: sa.Connection, stamp: datetime, photo_id: UUID, product_id: UUID, key: str, file: PhotoFile
) -> None:
    connection.execute(
        t.photo.insert().values(
            id=photo_id,
            product_id=product_id,
            object_key=key,
            filename=_filename(stamp, file),
            size=len(file.content),
            content_type=file.content_type,
            checksum=checksum_of(file.content),
            version=1,
            is_primary=True,
            sort_order=0,
            updated_at=stamp,
        )
    )


def _filename(stamp: datetime, file: PhotoFile) -> str:
    return f"Menu_Image_{stamp:%Y%m%d%H%M%S}.{file.extension}"


def _delete_rows(connection: sa.Connection, product_id: UUID) -> tuple[UUID, ...]:
    statement = t.photo.delete().where(t.photo.c.product_id == product_id).returning(t.photo.c.id)
    return tuple(connection.scalars(statement))


def _put(bench: Bench, key: str, file: PhotoFile) -> None:
    bench.office.s3.put_object(Bucket=bench.office.bucket, Key=key, Body=file.content, ContentType=file.content_type)
