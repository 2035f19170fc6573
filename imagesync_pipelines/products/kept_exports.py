"""The exports as files below the storage root, written when a row changed, or when they are not what was written.

Beside them is a note of what they were made from and of their checksums; without it, or when it cannot be read, all are
written.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from upath import UPath

from imagesync_pipelines.products.export_rows import PLAIN, Batches, columns_of, read_rows, snapshot
from imagesync_pipelines.products.exports import Format, kind_of
from imagesync_pipelines.products.merchant import LeftOut
from imagesync_pipelines.storage.files import write_stream, write_whole

FOLDER, NOTE = "exports", ".written.json"
# Raising it writes all files anew; so does another version of this package.
RECIPE = 1
_CHUNK = 1 << 20
# A number that is another one as soon as any value differs that a row of the exports is made from, in any order.
_STATE = sa.text("""
SELECT format('products %s, images %s, shown %s, orders %s',
  (SELECT sum(hash_record_extended(ROW(id, sku, kind, variant_code, name, parent_id, left_erp_at IS NULL), 0))
     FROM imagesync.product),
  (SELECT sum(hash_record_extended(ROW(id, product_id, external_id, image_url, thumbnail_url, image_type, is_primary,
                                       is_front, priority, alt_text, source, newest_export, image_format, width,
                                       height, last_synced), 0)) FROM imagesync.product_image),
  (SELECT sum(hash_record_extended(ROW(product_id, owner_id, own_first_id), 0)) FROM imagesync.shown_image),
  (SELECT sum(hash_record_extended(ROW(product_id, pictures), 0)) FROM imagesync.picture_order))
""")


# Of what was judged; asked for only where something was.
_QUALITY = sa.text("""
SELECT ', quality ' || sum(hash_record_extended(ROW(rule_set, connector, account, code, score, failed), 0))
  FROM imagesync.picture_score WHERE connector IN (SELECT DISTINCT source FROM imagesync.product_image)
""")


class Written(NamedTuple):
    """The rows in each file, the size of each in bytes by its path, what the Merchant feed does not have and why.

    anew: whether they were written now; else no row has changed and they are as they were written.
    """

    rows: int
    sizes: dict[str, int]
    left_out: list[str]
    anew: bool


class Note(BaseModel):
    """What was written: made_from names the state and the recipe; sizes and checksums (SHA-256) by path."""

    made_from: str
    rows: int
    sizes: dict[str, int]
    checksums: dict[str, str]
    left_out: list[str]


def write_exports(engine: sa.Engine, storage: UPath, *, own_images_first: bool = False) -> Written:
    """Bring the files of all formats up to the rows of this moment; a file is replaced whole or not at all."""
    with snapshot(engine) as connection:
        how = f"recipe {RECIPE} of {version('imagesync-pipelines')}, own images first: {own_images_first}"
        judged = connection.scalar(_QUALITY) if columns_of(connection) != PLAIN else None
        made_from = f"{how}; {connection.scalar(_STATE)}{judged or ''}"
        there = _read_note(storage)
        anew = there is None or there.made_from != made_from or not _is_as_written(storage, there)
        if there is None or anew:
            there = _write(connection, storage, made_from, own_images_first)
    return Written(there.rows, there.sizes, there.left_out, anew)


def _write(connection: sa.Connection, storage: UPath, made_from: str, own_images_first: bool) -> Note:
    """Write every format, and then the note."""
    note, left_out = Note(made_from=made_from, rows=0, sizes={}, checksums={}, left_out=[]), LeftOut()

    def counted(batches: Batches, wanted: Format) -> Batches:
        note.rows = 0
        for batch in batches:
            note.rows += len(batch)
            if wanted is Format.MERCHANT:
                left_out.note(batch)
            yield batch

    columns = columns_of(connection)
    for wanted in Format:
        kind, checksum = kind_of(wanted), hashlib.sha256()
        path = f"{FOLDER}/{kind.file_name}"
        batches = counted(read_rows(connection, own_images_first=own_images_first), wanted)
        note.sizes[path] = write_stream(storage / path, _hashed(kind.write(batches, columns), checksum.update))
        note.checksums[path] = checksum.hexdigest()
    note.left_out = left_out.lines()
    write_whole(storage / FOLDER / NOTE, note.model_dump_json().encode())
    return note


def _hashed(parts: Iterable[bytes], note: Callable[[bytes], object]) -> Iterator[bytes]:
    """The same parts, each noted before it is given on."""
    for part in parts:
        note(part)
        yield part


def _read_note(storage: UPath) -> Note | None:
    try:
        return Note.model_validate_json((storage / FOLDER / NOTE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _is_as_written(storage: UPath, note: Note) -> bool:
    """Whether each file holds, byte for byte, what the note says."""
    if {path.rpartition("/")[2] for path in note.checksums} != {kind_of(wanted).file_name for wanted in Format}:
        return False
    for path, checksum in note.checksums.items():
        found = hashlib.sha256()
        try:
            with (storage / path).open("rb") as file:
                while part := file.read(_CHUNK):
                    found.update(part)
        except FileNotFoundError:
            return False
        if found.hexdigest() != checksum:
            return False
    return True
