"""What happens to head office's photos, objects, products and stores (docs/contracts/edge.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.sandbox.answers import flipped
from imagesync_pipelines.sandbox.head_office.beginning import SKU_STEP, checksum_of
from imagesync_pipelines.sandbox.head_office.bench import Bench
from imagesync_pipelines.sandbox.head_office.photos import CONTENT_TYPES, JPEG, WEBP, PhotoFile
from imagesync_pipelines.sandbox.mutation import MutationError, make, operators
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.catalogue import NewPhoto, put_photos

STALE = checksum_of(b"some other photo")


@dataclass(frozen=True, kw_only=True)
class OfficeMutation:
    """One change that was made.

    `photo_id` is the photo that was changed or made, `gone` are the ids that head office does not have any more (a
    photo out of a store's scope is not gone), `detail` says in a few words what is different now.
    """

    operator: str = ""
    product_id: UUID | None = None
    photo_id: UUID | None = None
    gone: tuple[UUID, ...] = ()
    detail: str


def _delete_object(bench: Bench, photo_id: UUID | None = None) -> OfficeMutation:
    """The object is deleted, the row stays."""
    photo = bench.photo(photo_id)
    bench.office.s3.delete_object(Bucket=bench.office.bucket, Key=photo.object_key)
    return _of_photo(photo, "has no object any more")


def _overwrite_object(bench: Bench, photo_id: UUID | None = None, content: bytes | None = None) -> OfficeMutation:
    """Another photo, or the given bytes, lies under the key; the row still lists the old one."""
    photo = bench.photo(photo_id)
    bench.put(photo.object_key, bench.new_file(photo.sku).content if content is None else content, photo.content_type)
    return _of_photo(photo, "has another object than it lists")


def _spoil_object(
    spoilt: Callable[[bytes], bytes], detail: str, bench: Bench, photo_id: UUID | None = None
) -> OfficeMutation:
    """The object has some of its bytes left, or all of its length."""
    photo = bench.photo(photo_id)
    content = bench.office.s3.get_object(Bucket=bench.office.bucket, Key=photo.object_key)["Body"].read()
    bench.put(photo.object_key, spoilt(content), photo.content_type)
    return _of_photo(photo, detail)


def _first_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _of_photo(photo: sa.Row[Any], detail: str) -> OfficeMutation:
    return OfficeMutation(product_id=photo.product_id, photo_id=photo.id, detail=f"{photo.sku} {detail}")


def _switch_product(active: bool, bench: Bench, product_id: UUID | None = None) -> OfficeMutation:
    """A product is switched on or off: its photos reappear in every list, or vanish."""
    product = bench.product(product_id)
    with bench.writing(product.id) as (connection, _):
        connection.execute(t.product.update().where(t.product.c.id == product.id).values(is_active=active))
    return OfficeMutation(product_id=product.id, detail=f"{product.sku} is {'on' if active else 'off'}")


def _reactivate_product(bench: Bench, product_id: UUID) -> OfficeMutation:
    return _switch_product(True, bench, product_id)


def _delete_product(bench: Bench, product_id: UUID | None = None) -> OfficeMutation:
    """A product is deleted and takes its photos' rows along; the objects stay in the bucket."""
    product = bench.product(product_id)
    with bench.writing(product.id) as (connection, _):
        gone = tuple(connection.scalars(sa.select(t.photo.c.id).where(t.photo.c.product_id == product.id)))
        connection.execute(t.product.delete().where(t.product.c.id == product.id))
    return OfficeMutation(product_id=product.id, gone=gone, detail=f"the product {product.sku} is deleted")


def _link_brand(
    linked: bool, bench: Bench, brand_id: UUID | None = None, store_id: UUID | None = None
) -> OfficeMutation:
    """A store gets or loses a brand and all its photos; by default the first store the second brand."""
    return _link(bench, store_id, [brand_id if brand_id is not None else bench.beginning.brands[1].id], linked=linked)


def _empty_store(bench: Bench, store_id: UUID | None = None) -> OfficeMutation:
    """A store loses all brands: its list has a total of 0."""
    there = t.store_brand.c
    brands = bench.scalars(sa.select(there.brand_id).where(there.store_id == _store(bench, store_id)))
    return _link(bench, store_id, brands, linked=False)


def _refill_store(bench: Bench, store_id: UUID | None = None) -> OfficeMutation:
    """A store gets the brands again that it had at the start."""
    store = _store(bench, store_id)
    brands = [list(one.brands) for one in bench.beginning.all_stores if one.id == store]
    if not brands:
        raise MutationError(f"there is no store {store}")
    return _link(bench, store, brands[0], linked=True)


def _switch_store(active: bool, bench: Bench, store_id: UUID | None = None) -> OfficeMutation:
    """A store is switched on or off: off, its list answers 404."""
    with bench.office.engine.begin() as connection:
        connection.execute(t.store.update().where(t.store.c.id == _store(bench, store_id)).values(is_active=active))
    return OfficeMutation(detail=f"the store is {'on' if active else 'off'}")


def _store(bench: Bench, store_id: UUID | None) -> UUID:
    return store_id if store_id is not None else bench.beginning.stores[0].id


def _link(bench: Bench, store_id: UUID | None, brands: list[UUID], *, linked: bool) -> OfficeMutation:
    there, store = t.store_brand.c, _store(bench, store_id)
    products = bench.scalars(sa.select(t.product.c.id).where(t.product.c.brand_id.in_(brands)))
    with bench.writing(*products) as (connection, _):
        connection.execute(t.store_brand.delete().where(there.store_id == store, there.brand_id.in_(brands)))
        if linked:
            connection.execute(t.store_brand.insert(), [{"store_id": store, "brand_id": brand} for brand in brands])
    return OfficeMutation(detail=f"{len(brands)} brands {'linked to' if linked else 'unlinked from'} it")


def _replace(bench: Bench, product_id: UUID | None = None, kind: str | None = None) -> OfficeMutation:
    """A product's photo is uploaded anew: other bytes, a new id, the same kind unless one (jpg, png, webp) is named.

    In the original, and when silent, the version is 1 again, and the key stays the same if the kind does.
    """
    product = bench.product(product_id)
    rows = sa.select(t.photo.c.object_key).where(t.photo.c.product_id == product.id)
    keys = bench.scalars(rows.where(t.photo.c.object_key != "").order_by(t.photo.c.is_primary.desc(), t.photo.c.id))
    file = bench.new_file(product.sku, kind or (keys[0].rpartition(".")[2] if keys else JPEG))
    if bench.silent:
        return _upload(bench, product, file)
    gone = bench.scalars(rows.with_only_columns(t.photo.c.id))
    new = NewPhoto(product.id, file.content, _filename(bench.office.clock(), file), file.content_type)
    photo_id = put_photos(bench.office, [new])[0]
    detail = f"{product.sku} has a new photo"
    return OfficeMutation(product_id=product.id, photo_id=photo_id, gone=tuple(gone), detail=detail)


def _replace_with(
    bench: Bench, content: bytes, content_type: str = "image/jpeg", product_id: UUID | None = None
) -> OfficeMutation:
    """As `replace`, with bytes that head office took without looking: HTML, a bomb, half a photo. The checksum fits."""
    kinds = {content_type: kind for kind, content_type in CONTENT_TYPES.items()}
    return _upload(bench, bench.product(product_id), PhotoFile(content, content_type, kinds.get(content_type, JPEG)))


def _upload(bench: Bench, product: sa.Row[Any], file: PhotoFile) -> OfficeMutation:
    """All rows and objects of the product go, one new row and object come."""
    photo_id, key = bench.uuid(), f"products/{product.id}/primary.{file.extension}"
    bench.put(key, file.content, file.content_type)
    with bench.writing(product.id) as (connection, stamp):
        keys = set(connection.scalars(sa.select(t.photo.c.object_key).where(t.photo.c.product_id == product.id)))
        gone = _delete_rows(connection, product.id)
        _insert(connection, stamp, photo_id, product.id, key, file)
    for old in keys - {key, ""}:
        bench.office.s3.delete_object(Bucket=bench.office.bucket, Key=old)
    detail = f"{product.sku} has a new photo under {key}"
    return OfficeMutation(product_id=product.id, photo_id=photo_id, gone=gone, detail=detail)


def _add(bench: Bench, kind: str = JPEG, brand_id: UUID | None = None, late_seconds: float = 0.0) -> OfficeMutation:
    """A new product with a photo, stamped so many seconds ago; of the first brand if none is named."""
    if brand_id is not None and brand_id not in {brand.id for brand in bench.beginning.brands}:
        raise MutationError(f"there is no brand {brand_id}")
    brand = brand_id or bench.beginning.brands[0].id
    sku = f"{int(bench.scalars(sa.select(sa.func.max(t.product.c.sku)))[0] or 0) + SKU_STEP:08}"
    product_id, photo_id, file = bench.uuid(), bench.uuid(), bench.new_file(sku, kind)
    key = f"products/{product_id}/primary.{kind}"
    bench.put(key, file.content, file.content_type)
    row = {"id": product_id, "brand_id": brand, "sku": sku, "name": f'New dish "{sku}" été'}
    with bench.writing(product_id) as (connection, stamp):
        connection.execute(t.product.insert().values(row))
        _insert(connection, stamp - timedelta(seconds=late_seconds), photo_id, product_id, key, file)
    return OfficeMutation(product_id=product_id, photo_id=photo_id, detail=f"new product {sku} with {key}")


def _late_commit(bench: Bench, seconds: float = 300.0) -> OfficeMutation:
    """A new product's photo appears now, with an `updated_at` of so many seconds ago: its transaction took that long.

    Never told: head office's own service writes one transaction after the other, so that this cannot happen to it.
    """
    bench.silent = True
    return _add(bench, late_seconds=seconds)


def _second_primary(bench: Bench, product_id: UUID | None = None) -> OfficeMutation:
    """An admin adds a second photo to a product and makes it primary as well."""
    product, photo_id = bench.product(product_id), bench.uuid()
    file = bench.new_file(product.sku)
    key = f"products/{product.id}/{photo_id.hex[:8]}_second.{file.extension}"
    bench.put(key, file.content, file.content_type)
    with bench.writing(product.id) as (connection, stamp):
        _insert(connection, stamp, photo_id, product.id, key, file)
    return OfficeMutation(product_id=product.id, photo_id=photo_id, detail=f"{product.sku} has two primary photos")


def _excel_import(
    bench: Bench, product_id: UUID | None = None, *, instead: bool = False, filename: str = "import.jpg"
) -> OfficeMutation:
    """An import makes a photo without object, checksum and size; with `instead` it first deletes the product's rows.

    The original gives such a photo a relative URL, or none without a file name.
    """
    product, photo_id = bench.product(product_id), bench.uuid()
    row = {"id": photo_id, "product_id": product.id, "filename": filename, "is_primary": instead}
    with bench.writing(product.id) as (connection, stamp):
        gone = _delete_rows(connection, product.id) if instead else ()
        connection.execute(t.photo.insert().values(**row, updated_at=stamp))
    detail = f"{product.sku} has a photo without an object"
    return OfficeMutation(product_id=product.id, photo_id=photo_id, gone=gone, detail=detail)


def _delete_row(bench: Bench, photo_id: UUID | None = None) -> OfficeMutation:
    """The delete button: the row goes, the object stays in the bucket."""
    photo = bench.photo(photo_id)
    with bench.writing(photo.product_id) as (connection, _):
        connection.execute(t.photo.delete().where(t.photo.c.id == photo.id))
    detail = f"the photo of {photo.sku} is deleted"
    return OfficeMutation(product_id=photo.product_id, gone=(photo.id,), detail=detail)


def _edit(
    bench: Bench, photo_id: UUID | None = None, sort_order: int | None = None, is_primary: bool | None = None
) -> OfficeMutation:
    """An admin edits sort_order or is_primary, or by default raises sort_order by one; the bytes stay."""
    photo = bench.photo(photo_id)
    if sort_order is None and is_primary is None:
        sort_order = photo.sort_order + 1
    values = {"sort_order": sort_order, "is_primary": is_primary}
    return _set_photo(bench, photo, {name: value for name, value in values.items() if value is not None})


def _stale_checksum(bench: Bench, photo_id: UUID | None = None) -> OfficeMutation:
    """The row lists a checksum that its object does not have."""
    return _set_photo(bench, bench.photo(photo_id), {"checksum": STALE})


def _wrong_size(bench: Bench, photo_id: UUID | None = None, more: int = 100) -> OfficeMutation:
    """The row lists a size that is wrong by so many bytes, up or down."""
    photo = bench.photo(photo_id)
    return _set_photo(bench, photo, {"size": photo.size + more})


def _set_photo(bench: Bench, photo: sa.Row[Any], values: Mapping[str, Any]) -> OfficeMutation:
    with bench.writing(photo.product_id) as (connection, stamp):
        connection.execute(t.photo.update().where(t.photo.c.id == photo.id).values(**values, updated_at=stamp))
    return _of_photo(photo, "has " + ", ".join(f"{name} {value}" for name, value in values.items()))


def _insert(
    connection: sa.Connection, stamp: datetime, photo_id: UUID, product_id: UUID, key: str, file: PhotoFile
) -> None:
    of_file = {"object_key": key, "size": len(file.content), "content_type": file.content_type}
    of_row = {"version": 1, "is_primary": True, "sort_order": 0, "updated_at": stamp, "id": photo_id}
    named = {"product_id": product_id, "filename": _filename(stamp, file), "checksum": checksum_of(file.content)}
    connection.execute(t.photo.insert().values(**of_file, **of_row, **named))


def _filename(stamp: datetime, file: PhotoFile) -> str:
    return f"Menu_Image_{stamp:%Y%m%d%H%M%S}.{file.extension}"


def _delete_rows(connection: sa.Connection, product_id: UUID) -> tuple[UUID, ...]:
    statement = t.photo.delete().where(t.photo.c.product_id == product_id).returning(t.photo.c.id)
    return tuple(connection.scalars(statement))


OPERATORS: Mapping[str, Callable[..., OfficeMutation]] = {
    **operators(_replace, _replace_with, _add, _late_commit, _second_primary, _excel_import, _delete_row, _edit),
    **operators(_stale_checksum, _wrong_size, _delete_product, _empty_store, _refill_store, _delete_object),
    **operators(_overwrite_object, _reactivate_product),
    "deactivate_product": partial(_switch_product, False),
    "unlink_brand": partial(_link_brand, False),
    "link_brand": partial(_link_brand, True),
    "deactivate_store": partial(_switch_store, False),
    "activate_store": partial(_switch_store, True),
    "flip_object": partial(_spoil_object, flipped, "has flipped bytes in its object"),
    "truncate_object": partial(_spoil_object, _first_half, "has half an object"),
}


def mutate(bench: Bench, operator: str, *, silent: bool | None = None, **arguments: Any) -> OfficeMutation:
    """Make one change now; arguments as the operator takes them, and what is not named is chosen from the seed.

    `silent` changes leave nothing for incremental readers to find; without it the bench's own way holds. Raises
    MutationError.
    """
    with bench.lock:
        before = bench.silent
        bench.silent = before if silent is None else silent
        try:
            return replace(make(OPERATORS, operator, bench, **arguments), operator=operator)
        finally:
            bench.silent = before


# Shares of the first photos; at least one of each. Of 150: 4, 3, 2, 2 and 1.
SHARES = {"replace": 0.03, "add": 0.02, "delete_row": 0.013, "edit": 0.013, "deactivate_product": 0.007}


def change_a_day(bench: Bench) -> list[str]:
    """Change about 8 % of the photos and say what was done, in order: one line per change.

    Each change is to another product, unless all were changed before.
    """
    total = len(bench.beginning.products)
    done = [mutate(bench, "replace", kind=WEBP)]
    for operator, share in SHARES.items():
        done += [mutate(bench, operator) for _ in range(max(1, round(total * share)))]
    return [f"{change.operator}: {change.detail}" for change in done]
