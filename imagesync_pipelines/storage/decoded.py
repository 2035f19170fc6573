"""What full decodes found, by content and decoder, so that no content is decoded twice for the same answer.

It is a memory and no truth: what is forgotten is decoded again.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import among, write_rows
from imagesync_pipelines.storage.schema import decoded_content as table

# What nobody met again in so long is forgotten; that it was met is noted so often at most.
KEPT, NOTED_EVERY = timedelta(days=90), timedelta(days=7)


@dataclass(frozen=True)
class Decoded:
    """What a decode of a content found: its format and damage, or the fault for which it was refused, and why.

    md5, sha256: of the content, as hexadecimal digits; the first is what sources list, the second what is believed.
    """

    md5: str
    sha256: str
    format: str
    damage: str
    fault: str
    reason: str


def find(engine: sa.Engine, decoder: str, md5s: Collection[str]) -> list[tuple[Decoded, bool]]:
    """What this decoder found of contents with these MD5s, and whether it is time to note that they were met again."""
    columns = [table.c[name] for name in Decoded.__dataclass_fields__]
    is_due = table.c.used_at < sa.func.now() - NOTED_EVERY
    query = sa.select(*columns, is_due).where(among(table.c.md5, md5s), table.c.decoder == decoder)
    with engine.connect() as connection:
        return [(Decoded(*values), due) for *values, due in connection.execute(query)]


def sha256_of(connection: sa.Connection, md5s: Collection[str]) -> dict[str, str]:
    """The SHA-256 of contents that were decoded, by MD5; without those of which two have the same MD5."""
    one = sa.func.min(table.c.sha256)
    query = sa.select(table.c.md5, one.label("sha256")).where(among(table.c.md5, md5s)).group_by(table.c.md5)
    found = connection.execute(query.having(one == sa.func.max(table.c.sha256)))
    return {row.md5: row.sha256 for row in found}


def keep(engine: sa.Engine, decoder: str, found: Collection[Decoded]) -> None:
    """Keep what was found, and that it was met now."""
    new = insert(table)
    verdict = {name: new.excluded[name] for name in ("format", "damage", "fault", "reason")}
    noted = new.on_conflict_do_update(
        index_elements=["md5", "sha256", "decoder"], set_={**verdict, "used_at": sa.func.now()}
    )
    # In one order, so that two runs at once wait for each other instead of blocking each other.
    rows = sorted(found, key=lambda one: (one.md5, one.sha256))
    write_rows(engine, noted, [{**vars(one), "decoder": decoder} for one in rows])


def forget_unused(engine: sa.Engine) -> int:
    """Forget what was not met for long, by whatever decoder; returns how much that was."""
    return write_rows(engine, table.delete().where(table.c.used_at < sa.func.now() - KEPT))
