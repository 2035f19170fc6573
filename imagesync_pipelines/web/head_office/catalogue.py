"""Writing the head office's catalogue: companies, brands, stores, products, their photos, accounts and who sees what.

Adding what is there already updates it and gives its id, so every call can be repeated. Only photos are ever deleted.

What stores see is changed in one transaction that leaves the traces an incremental reader needs: a photo that leaves a
store's scope gets a row in `photo_deletion`; one that enters it gets a new `updated_at`, so that `since` finds it.
Changes run one after the other, so a later stamp is never committed before an earlier one: a reader whose cursor is the
largest `updated_at` it saw misses nothing.

The original replaced a photo under the same object key, without a transaction, and told nobody. Here the object is put
first, under a key of its own, then the rows change in one transaction, and only then the old object goes. So a reader
finds a photo whole at every moment, and a crash leaves at most an unused object.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import sqlalchemy as sa
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.products.file_names import canonical, is_ignored, stem, why_unclear
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.objects import check_bucket, said_of
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.office import HeadOffice

UPLOADS = 8
EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif"}
# Of the pictures in a folder: the suffixes that count, and what their bytes may be.
SUFFIXES = frozenset({".jpeg", *EXTENSIONS.values()})
CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
LARGEST_PHOTO = 50 * 1024 * 1024
# Files whose bytes are held at the same time; one transaction each.
BATCH_FILES, BATCH_BYTES = 100, 64 * 1024 * 1024

logger = logging.getLogger("imagesync.head_office")
_before = sa.table("scope_before", sa.column("store_id"), sa.column("photo_id"), sa.column("product_id"))


class UnknownRowError(StorageError):
    """A company, brand, store, product, photo or account that is named does not exist; nothing was changed."""


@dataclass(frozen=True)
class NewPhoto:
    """A photo to be written: its bytes as they are, and what the caller knows about them."""

    product_id: UUID
    body: bytes
    filename: str
    content_type: str = "image/jpeg"


class Doubled(NamedTuple):
    """A product that is there more than once but for blanks and the form of letters.

    sku: its canonical form. counts: the one that pictures go to; others: those that stores see beside it, with their
    photos. is_hidden: whether stores see them no more.
    """

    sku: str
    counts: UUID
    others: tuple[UUID, ...]
    is_hidden: bool = False


@dataclass
class Imported:
    """What became of a folder: numbers of files, the name and reason of each that was refused, doubled products."""

    written: int = 0
    unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    doubled: list[Doubled] = field(default_factory=list)


def add_company(office: HeadOffice, name: str) -> UUID:
    """Add a company; a name that is there already gives its id."""
    return _upsert(office, t.company, ["name"], {"name": name})


def add_brand(office: HeadOffice, company_id: UUID, name: str) -> UUID:
    """Add a brand to a company; stores see it once it is linked to them."""
    return _upsert(office, t.brand, ["company_id", "name"], {"company_id": company_id, "name": name})


def add_store(office: HeadOffice, company_id: UUID, code: str, name: str) -> UUID:
    """Add an active store to a company; `code` is unique over all companies."""
    with office.engine.begin() as connection:
        owner = connection.execute(sa.select(t.store.c.company_id).where(t.store.c.code == code)).scalar()
    if owner is not None and owner != company_id:
        raise UnknownRowError(f"Store {code} belongs to another company; choose another code.")
    return _upsert(office, t.store, ["code"], {"company_id": company_id, "code": code, "name": name})


def add_products(office: HeadOffice, brand_id: UUID, names: Mapping[str, str]) -> dict[str, UUID]:
    """Add many active products at once, sku -> name; gives sku -> id of all of them."""
    if not names:
        return {}
    rows = [{"id": uuid4(), "brand_id": brand_id, "sku": sku, "name": name} for sku, name in names.items()]
    statement = insert(t.product)
    news = {"name": statement.excluded.name}
    statement = statement.on_conflict_do_update(index_elements=["brand_id", "sku"], set_=news)
    with office.engine.begin() as connection:
        connection.execute(statement, rows)
        return product_ids(connection, brand_id, list(names))


def product_ids(connection: sa.Connection, brand_id: UUID, skus: list[str]) -> dict[str, UUID]:
    """sku -> id of those of the products that the brand has."""
    here = t.product.c.brand_id == brand_id, among(t.product.c.sku, skus)
    return {row.sku: row.id for row in connection.execute(sa.select(t.product.c.sku, t.product.c.id).where(*here))}


def find_store(office: HeadOffice, code: str) -> UUID:
    """The id of the store with this code; raises UnknownRowError."""
    with office.engine.connect() as connection:
        found: UUID | None = connection.execute(sa.select(t.store.c.id).where(t.store.c.code == code)).scalar()
    if found is None:
        raise UnknownRowError(f"There is no store with the code {code}; see `imagesync head-office health`.")
    return found


def set_from_bucket(office: HeadOffice, store_id: UUID, *, from_bucket: bool) -> None:
    """Say whether who reads for a store can reach the bucket, and may be sent there for a photo."""
    with office.engine.begin() as connection:
        connection.execute(t.store.update().where(t.store.c.id == store_id).values(from_bucket=from_bucket))


def link_brand(office: HeadOffice, store_id: UUID, brand_id: UUID) -> None:
    """Let a store see a brand of its company; its photos get a new `updated_at` when they come into view."""
    with changing(office, t.product.c.brand_id == brand_id) as (connection, _):
        row = {"store_id": store_id, "brand_id": brand_id}
        connection.execute(insert(t.store_brand).values(row).on_conflict_do_nothing())


@contextmanager
def changing(office: HeadOffice, products: sa.ColumnElement[bool]) -> Iterator[tuple[sa.Connection, datetime]]:
    """One transaction that changes rows around some products, and the stamp for the rows it writes.

    products: a condition on the product table. On leaving, the photos that entered and left the scope of each store are
    worked out and noted. Nothing is kept when the body raises.
    """
    seen = t.scope().where(products).subquery()
    with office.engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": t.WRITE_LOCK})
        stamp = office.clock()
        columns = "store_id uuid, photo_id uuid, product_id uuid"
        connection.execute(sa.text(f"CREATE TEMPORARY TABLE scope_before ({columns}) ON COMMIT DROP"))
        connection.execute(sa.insert(_before).from_select(["store_id", "photo_id", "product_id"], sa.select(seen)))
        yield connection, stamp
        same = (seen.c.store_id == _before.c.store_id) & (seen.c.photo_id == _before.c.photo_id)
        was_or_is = sa.exists().where(same)
        left = sa.select(_before, sa.literal(stamp, sa.DateTime(timezone=True))).where(~was_or_is)
        gone = insert(t.photo_deletion).from_select(["store_id", "photo_id", "product_id", "deleted_at"], left)
        again = {"deleted_at": gone.excluded.deleted_at}
        connection.execute(gone.on_conflict_do_update(index_elements=["store_id", "photo_id"], set_=again))
        entered = sa.select(seen.c.store_id, seen.c.photo_id).where(~was_or_is)
        stale = t.photo.c.id.in_(sa.select(entered.subquery().c.photo_id)), t.photo.c.updated_at != stamp
        connection.execute(t.photo.update().where(*stale).values(updated_at=stamp))
        key = sa.tuple_(t.photo_deletion.c.store_id, t.photo_deletion.c.photo_id)
        connection.execute(t.photo_deletion.delete().where(key.in_(entered)))


def _upsert(office: HeadOffice, table: sa.Table, natural_key: list[str], row: dict[str, Any]) -> UUID:
    """Insert a row, or update the one with the same natural key; gives the id of the row that is there then."""
    statement = insert(table).values(id=uuid4(), **row)
    news = {name: statement.excluded[name] for name in row}
    statement = statement.on_conflict_do_update(index_elements=natural_key, set_=news)
    with office.engine.begin() as connection:
        found: UUID = connection.execute(statement.returning(table.c.id)).scalar_one()
    return found


def put_photos(office: HeadOffice, photos: Sequence[NewPhoto]) -> list[UUID]:
    """Make each the only photo of its product, all in one transaction; gives the new ids in the same order.

    Photos that a product had before are reported as deleted to the stores that saw them. `version` counts the photos
    that the product has had.
    """
    products = [one.product_id for one in photos]
    if len(set(products)) < len(products):
        raise ValueError("a product is named twice; put its photos one after the other")
    if not photos:
        return []
    rows = upload(office, photos)
    these = among(t.product.c.id, products)
    with changing(office, these) as (connection, stamp):
        known = set(connection.scalars(sa.select(t.product.c.id).where(these)))
        missing = sorted(str(one) for one in set(products) - known)
        if missing:
            raise UnknownRowError(f"There is no product {', '.join(missing[:5])}; no photo was written.")
        old = connection.execute(
            t.photo.delete().where(among(t.photo.c.product_id, products))
            .returning(t.photo.c.product_id, t.photo.c.version, t.photo.c.object_key)
        ).all()  # fmt: skip
        # Of several versions of a product the highest comes last.
        versions = {gone.product_id: gone.version for gone in sorted(old, key=lambda one: one.version)}
        news = [{**row, "version": versions.get(row["product_id"], 0) + 1, "updated_at": stamp} for row in rows]
        connection.execute(t.photo.insert(), news)
    drop_objects(office, [gone.object_key for gone in old])
    return [row["id"] for row in rows]


def upload(office: HeadOffice, photos: Sequence[NewPhoto]) -> list[dict[str, Any]]:
    """Put the objects, several at a time; gives the row of each, without its version and stamp. Raises StorageError."""

    def one(new: NewPhoto) -> dict[str, Any]:
        photo_id = uuid4()
        extension = EXTENSIONS.get(new.content_type) or PurePosixPath(new.filename).suffix.lower()
        key = f"products/{new.product_id}/{photo_id}{extension}"
        try:
            office.s3.put_object(Bucket=office.bucket, Key=key, Body=new.body, ContentType=new.content_type)
        except (ClientError, BotoCoreError) as error:
            raise StorageError(said_of(error, office.s3.meta.endpoint_url, office.bucket)) from error
        return {
            "id": photo_id,
            "product_id": new.product_id,
            "object_key": key,
            "filename": new.filename,
            "size": len(new.body),
            "content_type": new.content_type,
            "checksum": _md5(new.body),
            "is_primary": True,
            "sort_order": 0,
        }

    with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as pool:
        return list(pool.map(one, photos))


def drop_objects(office: HeadOffice, keys: Sequence[str]) -> None:
    """Delete objects that no row names any more; one that cannot be deleted is left and logged, it harms nobody."""
    for key in keys:
        if not key.strip("/"):  # to some servers that is the bucket itself
            continue
        try:
            office.s3.delete_object(Bucket=office.bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            logger.warning("object %s is not needed any more and could not be deleted: %s", key, error)


def import_folder(office: HeadOffice, brand_id: UUID, folder: Path, *, hide_doubles: bool = False) -> Imported:
    """Make each picture `<sku>.<jpg|png|webp|gif>` of the folder the only photo of its product in the brand.

    Names are compared in canonical form (file_names.py); one that does not say clearly whose picture it is is refused.
    Every file that is not taken is told with its reason. A product that is not there is made, with its sku as its name.
    A picture that the product has already is left alone, so the import can be repeated. Every picture is decoded whole
    first; a bad one is refused and the others go on. Products that an earlier import made twice are told; hide_doubles:
    those beside the one that counts become inactive, once that one has a photo. No product and no photo is deleted.
    Raises StorageError when the bucket cannot be used.
    """
    check_bucket(office.s3, office.bucket)
    imported = Imported()
    known = {sku: rows[-1].sku for sku, rows in _by_form(office, brand_id).items()}
    for batch in _batches(folder, known, imported):
        with office.engine.connect() as connection:
            products = product_ids(connection, brand_id, list(batch))
        # Only the missing ones are made, so that no name is lost.
        products |= add_products(office, brand_id, {sku: sku for sku in batch if sku not in products})
        there = _checksums(office, list(products.values()))
        new = [
            replace(one, product_id=products[sku])
            for sku, one in batch.items()
            if there.get(products[sku]) != [_md5(one.body)]
        ]
        put_photos(office, new)
        imported.written += len(new)
        imported.unchanged += len(batch) - len(new)
    imported.doubled = _doubled(office, brand_id, hide=hide_doubles)
    return imported


def _by_form(office: HeadOffice, brand_id: UUID) -> dict[str, list[sa.Row]]:
    """The products of a brand by the canonical form of their skus; of several the last one counts.

    It is active if any is, and its sku is written in that form if any is.
    """
    query = sa.select(t.product.c.id, t.product.c.sku, t.product.c.is_active).where(t.product.c.brand_id == brand_id)
    with office.engine.connect() as connection:
        rows = connection.execute(query).all()
    found: dict[str, list[sa.Row]] = {}
    for row in sorted(rows, key=lambda row: (row.is_active, row.sku == canonical(row.sku), row.sku)):
        found.setdefault(canonical(row.sku), []).append(row)
    return found


def _doubled(office: HeadOffice, brand_id: UUID, *, hide: bool) -> list[Doubled]:
    """The products that are there more than once; hide: those beside one with a photo become inactive."""
    found = [
        Doubled(sku, rows[-1].id, others)
        for sku, rows in _by_form(office, brand_id).items()
        if (others := tuple(row.id for row in rows[:-1] if row.is_active))
    ]
    with_photo = _checksums(office, [one.counts for one in found]) if hide else {}
    these = among(t.product.c.id, [other for one in found if one.counts in with_photo for other in one.others])
    if with_photo:
        with changing(office, these) as (connection, _):
            connection.execute(t.product.update().where(these).values(is_active=False))
    return [one._replace(is_hidden=one.counts in with_photo) for one in found]


def _sku_of(name: str, known: Mapping[str, str]) -> str:
    """The sku that a file's name means. Raises ValueError with the reason when that is not clear."""
    sku = stem(name)
    if unclear := why_unclear(sku, known.__contains__):
        raise ValueError(unclear)
    if sku not in known and (longer := [one for one in known if one.lstrip("0") == sku.lstrip("0") != ""]):
        raise ValueError(f"there is no product {sku}; is {longer[0]} meant? Then name the file so")
    return known.get(sku, sku)


def _batches(folder: Path, known: Mapping[str, str], imported: Imported) -> Iterator[dict[str, NewPhoto]]:
    """The good pictures by their skus, a few at a time; their product is filled in later."""
    batch: dict[str, NewPhoto] = {}
    held = 0
    seen: set[str] = set()
    # What is hidden is no picture of anybody: a Mac and office programs put such files beside.
    there = [one for one in folder.iterdir() if not one.name.startswith((".", "~"))]
    # Of several with one canonical form, the one that is written so is first.
    for file in sorted(there, key=lambda one: (one.name != canonical(one.name), one.name)):
        try:
            if not file.is_file():
                raise ValueError("it is no file; only those in the folder itself are taken")
            if is_ignored(file.name, size := file.stat().st_size) and size:
                raise ValueError("it looks like a file that is still being written")
            if file.suffix.strip().lower() not in SUFFIXES:
                raise ValueError(f"only {', '.join(sorted(SUFFIXES))} are taken; save the picture as one of these")
            sku = _sku_of(file.name, known)
            if sku in seen:
                raise ValueError(f"a second picture for {sku}; the first one counts")
            if size > LARGEST_PHOTO:
                raise ValueError(f"{size} bytes; {LARGEST_PHOTO} are allowed")
            body = file.read_bytes()
            kind = check_image(body).format
            if kind not in CONTENT_TYPES:
                raise ValueError(f"it is {kind}, whatever its name says; save the picture as JPEG, PNG, WebP or GIF")
        except (BadImageError, ValueError, OSError) as error:
            imported.refused.append((file.name, str(error)))
            continue
        seen.add(sku)
        batch[sku] = NewPhoto(UUID(int=0), body, file.name, CONTENT_TYPES[kind])
        held += size
        if len(batch) >= BATCH_FILES or held >= BATCH_BYTES:
            yield batch
            batch, held = {}, 0
    if batch:
        yield batch


def _checksums(office: HeadOffice, products: list[UUID]) -> dict[UUID, list[str]]:
    with office.engine.connect() as connection:
        rows = connection.execute(
            sa.select(t.photo.c.product_id, sa.func.array_agg(t.photo.c.checksum).label("checksums"))
            .where(among(t.photo.c.product_id, products)).group_by(t.photo.c.product_id)
        )  # fmt: skip
        return {row.product_id: row.checksums for row in rows}


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
