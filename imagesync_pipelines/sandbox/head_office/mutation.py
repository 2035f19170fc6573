"""What happens to head office's photos, objects, products and stores (docs/contracts/edge.md)."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.beginning import SKU_STEP, checksum_of
from imagesync_pipelines.sandbox.head_office.bench import (
    Bench,
    OfficeMutation,
    choose_photo,
    choose_product,
    choose_store,
    products_of_brands,
    writing,
)
from imagesync_pipelines.sandbox.head_office.photos import CONTENT_TYPES, JPEG, WEBP, PhotoFile, make_photo
from imagesync_pipelines.sandbox.mutation import MutationError, make, operators
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.photos import put_photo

FLIPPED = 16


def delete_object(bench: Bench, photo_id: UUID | None = None) -> OfficeMutation:
    """The object is deleted, the row stays."""
    photo = choose_photo(bench, photo_id)
    bench.office.s3.delete_object(Bucket=bench.office.bucket, Key=photo.object_key)
    return _done("delete_object", photo, "has no object any more")


def overwrite_object(bench: Bench, photo_id: UUID | None = None, content: bytes | None = None) -> OfficeMutation:
    """Another photo, or the given bytes, lies under the key; the row still lists the old one."""
    photo = choose_photo(bench, photo_id)
    if content is None:
        content = make_photo(bench.beginning.seed, bench.next_label(photo.sku)).content
    _put_object(bench, photo, content)
    return _done("overwrite_object", photo, "has another object than it lists")


def flip_object(bench: Bench, photo_id: UUID | None = None) -> OfficeMutation:
    """Some bytes in the middle of the object are flipped; its length stays."""
    photo = choose_photo(bench, photo_id)
    content = _get(bench, photo)
    middle = len(content) // 2
    flipped = bytes(byte ^ 0xFF for byte in content[middle : middle + FLIPPED])
    _put_object(bench, photo, content[:middle] + flipped + content[middle + FLIPPED :])
    return _done("flip_object", photo, "has flipped bytes in its object")


def truncate_object(bench: Bench, photo_id: UUID | None = None) -> OfficeMutation:
    """The object ends half way."""
    photo = choose_photo(bench, photo_id)
    content = _get(bench, photo)
    _put_object(bench, photo, content[: len(content) // 2])
    return _done("truncate_object", photo, "has half an object")


def _get(bench: Bench, photo: sa.Row[Any]) -> bytes:
    content: bytes = bench.office.s3.get_object(Bucket=bench.office.bucket, Key=photo.object_key)["Body"].read()
    return content


def _put_object(bench: Bench, photo: sa.Row[Any], content: bytes) -> None:
    bench.office.s3.put_object(
        Bucket=bench.office.bucket, Key=photo.object_key, Body=content, ContentType=photo.content_type
    )


def _done(operator: str, photo: sa.Row[Any], detail: str) -> OfficeMutation:
    return OfficeMutation(operator, photo.product_id, photo.id, (), f"{photo.sku} {detail}")


def deactivate_product(bench: Bench, product_id: UUID | None = None) -> OfficeMutation:
    """A product is switched off: its photos vanish from every list."""
    return _set_product(bench, "deactivate_product", product_id, active=False)


def reactivate_product(bench: Bench, product_id: UUID) -> OfficeMutation:
    """A product is switched on again: its photos reappear."""
    return _set_product(bench, "reactivate_product", product_id, active=True)


def delete_product(bench: Bench, product_id: UUID | None = None) -> OfficeMutation:
    """A product is deleted and takes its photos' rows along; the objects stay in the bucket."""
    product = choose_product(bench, product_id)
    with writing(bench, product.id) as (connection, _):
        gone = tuple(connection.scalars(sa.select(t.photo.c.id).where(t.photo.c.product_id == product.id)))
        connection.execute(t.product.delete().where(t.product.c.id == product.id))
    return OfficeMutation("delete_product", product.id, None, gone, f"the product {product.sku} is deleted")


def unlink_brand(bench: Bench, brand_id: UUID | None = None, store_id: UUID | None = None) -> OfficeMutation:
    """A store loses a brand (by default the first store the second brand): all its photos vanish from that list."""
    brand = brand_id if brand_id is not None else bench.beginning.brands[1].id
    return _link(bench, "unlink_brand", choose_store(bench, store_id), [brand], linked=False)


def link_brand(bench: Bench, brand_id: UUID | None = None, store_id: UUID | None = None) -> OfficeMutation:
    """A store gets a brand (by default the first store the second brand)."""
    brand = brand_id if brand_id is not None else bench.beginning.brands[1].id
    return _link(bench, "link_brand", choose_store(bench, store_id), [brand], linked=True)


def empty_store(bench: Bench, store_id: UUID | None = None) -> OfficeMutation:
    """A store loses all brands: its list has a total of 0."""
    store = choose_store(bench, store_id)
    with bench.office.engine.connect() as connection:
        brands = list(connection.scalars(sa.select(t.store_brand.c.brand_id).where(t.store_brand.c.store_id == store)))
    return _link(bench, "empty_store", store, brands, linked=False)


def refill_store(bench: Bench, store_id: UUID | None = None) -> OfficeMutation:
    """A store gets the brands again that it had at the start."""
    store = choose_store(bench, store_id)
    known = (*bench.beginning.stores, bench.beginning.closed_store, bench.beginning.foreign_store)
    brands = [list(one.brands) for one in known if one.id == store]
    if not brands:
        raise MutationError(f"there is no store {store}")
    return _link(bench, "refill_store", store, brands[0], linked=True)


def deactivate_store(bench: Bench, store_id: UUID | None = None) -> OfficeMutation:
    """A store is switched off: its list answers 404."""
    return _set_store(bench, "deactivate_store", choose_store(bench, store_id), active=False)


def activate_store(bench: Bench, store_id: UUID | None = None) -> OfficeMutation:
    """A store is switched on again."""
    return _set_store(bench, "activate_store", choose_store(bench, store_id), active=True)


def _set_product(bench: Bench, operator: str, product_id: UUID | None, *, active: bool) -> OfficeMutation:
    product = choose_product(bench, product_id)
    with writing(bench, product.id) as (connection, _):
        connection.execute(t.product.update().where(t.product.c.id == product.id).values(is_active=active))
    return OfficeMutation(operator, product.id, None, (), f"{product.sku} is {'on' if active else 'off'}")


def _link(bench: Bench, operator: str, store: UUID, brands: list[UUID], *, linked: bool) -> OfficeMutation:
    there = t.store_brand.c
    with writing(bench, *products_of_brands(bench, brands)) as (connection, _):
        connection.execute(t.store_brand.delete().where(there.store_id == store, there.brand_id.in_(brands)))
        if linked:
            connection.execute(t.store_brand.insert(), [{"store_id": store, "brand_id": brand} for brand in brands])
    return OfficeMutation(
        operator, None, None, (), f"{len(brands)} brands {'linked to' if linked else 'unlinked from'} it"
    )


def _set_store(bench: Bench, operator: str, store: UUID, *, active: bool) -> OfficeMutation:
    with bench.office.engine.begin() as connection:
        connection.execute(t.store.update().where(t.store.c.id == store).values(is_active=active))
    return OfficeMutation(operator, None, None, (), f"the store is {'on' if active else 'off'}")


STALE = checksum_of(b"some other photo")


def replace(bench: Bench, product_id: UUID | None = None, kind: str | None = None) -> OfficeMutation:
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
    return OfficeMutation("replace", product.id, photo_id, gone, f"{product.sku} has a new photo")


def replace_with(
    bench: Bench, content: bytes, content_type: str = "image/jpeg", product_id: UUID | None = None
) -> OfficeMutation:
    """As `replace`, with bytes that head office took without looking: HTML, a bomb, half a photo. The checksum fits."""
    kinds = {content_type: kind for kind, content_type in CONTENT_TYPES.items()}
    file = PhotoFile(content, content_type, kinds.get(content_type, JPEG))
    return _upload(bench, "replace_with", choose_product(bench, product_id), file)


def add(bench: Bench, kind: str = JPEG, brand_id: UUID | None = None) -> OfficeMutation:
    """A new product with a photo; of the first brand if none is named."""
    product_id, sku = _new_product(bench, brand_id)
    file = make_photo(bench.beginning.seed, bench.next_label(sku), kind)
    photo_id, key = bench.uuid(), f"products/{product_id}/primary.{kind}"
    _put(bench, key, file)
    with writing(bench, product_id) as (connection, stamp):
        _insert_product(bench, connection, product_id, sku, brand_id)
        _insert(connection, stamp, photo_id, product_id, key, file)
    return OfficeMutation("add", product_id, photo_id, (), f"new product {sku} with {key}")


def late_commit(bench: Bench, seconds: float = 300.0) -> OfficeMutation:
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
    return OfficeMutation("late_commit", product_id, photo_id, (), f"{sku} is there now, stamped {seconds:g} s ago")


def second_primary(bench: Bench, product_id: UUID | None = None) -> OfficeMutation:
    """An admin adds a second photo to a product and makes it primary as well."""
    product = choose_product(bench, product_id)
    file = make_photo(bench.beginning.seed, bench.next_label(product.sku))
    photo_id = bench.uuid()
    key = f"products/{product.id}/{photo_id.hex[:8]}_second.{file.extension}"
    _put(bench, key, file)
    with writing(bench, product.id) as (connection, stamp):
        _insert(connection, stamp, photo_id, product.id, key, file)
    return OfficeMutation("second_primary", product.id, photo_id, (), f"{product.sku} has two primary photos")


def excel_import(
    bench: Bench, product_id: UUID | None = None, *, instead: bool = False, filename: str = "import.jpg"
) -> OfficeMutation:
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
                id=photo_id, product_id=product.id, filename=filename, is_primary=instead, updated_at=stamp
            )
        )
    return OfficeMutation("excel_import", product.id, photo_id, gone, f"{product.sku} has a photo without an object")


def delete_row(bench: Bench, photo_id: UUID | None = None) -> OfficeMutation:
    """The delete button: the row goes, the object stays in the bucket."""
    photo = choose_photo(bench, photo_id)
    with writing(bench, photo.product_id) as (connection, _):
        connection.execute(t.photo.delete().where(t.photo.c.id == photo.id))
    return OfficeMutation("delete_row", photo.product_id, None, (photo.id,), f"the photo of {photo.sku} is deleted")


def edit(
    bench: Bench, photo_id: UUID | None = None, sort_order: int | None = None, is_primary: bool | None = None
) -> OfficeMutation:
    """An admin edits sort_order or is_primary, or by default raises sort_order by one; the bytes stay."""
    photo = choose_photo(bench, photo_id)
    if sort_order is None and is_primary is None:
        sort_order = photo.sort_order + 1
    values: dict[str, Any] = {"sort_order": sort_order, "is_primary": is_primary}
    return _set_photo(bench, "edit", photo, {name: value for name, value in values.items() if value is not None})


def stale_checksum(bench: Bench, photo_id: UUID | None = None) -> OfficeMutation:
    """The row lists a checksum that its object does not have."""
    return _set_photo(bench, "stale_checksum", choose_photo(bench, photo_id), {"checksum": STALE})


def wrong_size(bench: Bench, photo_id: UUID | None = None, more: int = 100) -> OfficeMutation:
    """The row lists a size that is wrong by so many bytes, up or down."""
    photo = choose_photo(bench, photo_id)
    return _set_photo(bench, "wrong_size", photo, {"size": photo.size + more})


def _set_photo(bench: Bench, operator: str, photo: sa.Row[Any], values: dict[str, Any]) -> OfficeMutation:
    with writing(bench, photo.product_id) as (connection, stamp):
        connection.execute(t.photo.update().where(t.photo.c.id == photo.id).values(**values, updated_at=stamp))
    told = ", ".join(f"{name} {value}" for name, value in values.items())
    return OfficeMutation(operator, photo.product_id, photo.id, (), f"{photo.sku}: {told}")


def _upload(bench: Bench, operator: str, product: sa.Row[Any], file: PhotoFile) -> OfficeMutation:
    """All rows and objects of the product go, one new row and object come."""
    photo_id, key = bench.uuid(), f"products/{product.id}/primary.{file.extension}"
    _put(bench, key, file)
    with writing(bench, product.id) as (connection, stamp):
        keys = set(connection.scalars(sa.select(t.photo.c.object_key).where(t.photo.c.product_id == product.id)))
        gone = _delete_rows(connection, product.id)
        _insert(connection, stamp, photo_id, product.id, key, file)
    for old in keys - {key, ""}:
        bench.office.s3.delete_object(Bucket=bench.office.bucket, Key=old)
    return OfficeMutation(operator, product.id, photo_id, gone, f"{product.sku} has a new photo under {key}")


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


OPERATORS = operators(
    *(replace, replace_with, add, late_commit, second_primary, excel_import, delete_row, edit, stale_checksum),
    *(wrong_size, deactivate_product, reactivate_product, delete_product, unlink_brand, link_brand, empty_store),
    *(refill_store, deactivate_store, activate_store, delete_object, overwrite_object, flip_object, truncate_object),
)


def mutate(bench: Bench, operator: str, *, silent: bool | None = None, **arguments: Any) -> OfficeMutation:
    """Make one change now; arguments as the operator takes them, and what is not named is chosen from the seed.

    `silent` changes leave nothing for incremental readers to find; without it the bench's own way holds. Raises
    MutationError.
    """
    with bench.lock:
        before = bench.silent
        bench.silent = before if silent is None else silent
        try:
            return make(OPERATORS, operator, bench, **arguments)
        finally:
            bench.silent = before


# Shares of the first photos; at least one of each. Of 150: 4, 3, 2, 2 and 1.
REPLACED, ADDED, DELETED, REORDERED, SWITCHED_OFF = 0.03, 0.02, 0.013, 0.013, 0.007


def change_a_day(bench: Bench) -> list[str]:
    """Change about 8 % of the photos and say what was done, in order: one line per change.

    Each change is to another product, unless all were changed before.
    """
    total = len(bench.beginning.products)
    done = [mutate(bench, "replace", kind=WEBP)]
    for operator, share in (
        ("replace", REPLACED),
        ("add", ADDED),
        ("delete_row", DELETED),
        ("edit", REORDERED),
        ("deactivate_product", SWITCHED_OFF),
    ):
        done += [mutate(bench, operator) for _ in range(max(1, round(total * share)))]
    return [f"{change.operator}: {change.detail}" for change in done]
