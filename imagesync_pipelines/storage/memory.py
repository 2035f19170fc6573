"""How far a target was brought, as both sides remember it: a number here, and the same one at the target.

A run that writes moves both on. Where they differ, one side was restored from a backup, and what this side remembers
of the target is not believed: the target and the source are read whole. A number that is missing means the same.

The installation itself is such a target: its number is in its storage root too (identities.py). Once its database is
known to be a restored one, no target that keeps no number of its own is believed until it was read whole.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.identities import INSTALLATION
from imagesync_pipelines.storage.schema import primary_to_check, product_image
from imagesync_pipelines.storage.schema_accounts import target_memory as table


def counter_of(engine: sa.Engine, target: str) -> int | None:
    """The number of the last run of ours that wrote to a target; None where none was noted."""
    with engine.connect() as connection:
        found: int | None = connection.scalar(sa.select(table.c.counter).where(table.c.target == target))
    return found


def note_counter(engine: sa.Engine, target: str, counter: int) -> None:
    """Note the number that the target has now."""
    values = {"counter": counter, "noted_at": sa.func.now()}
    statement = insert(table).values(target=target, **values)
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["target"], set_=values))


def restored(ours: int | None, there: int | None) -> str:
    """Which side is older than the other remembers, for people; '' when both agree.

    ours, there: None where nothing is remembered. A target that no run of this release wrote to proves nothing.
    """
    if (ours or 0) == (there or 0):
        return ""
    return (
        told("it is older than what we remember of it")
        if (there or 0) < (ours or 0)
        else told("we remember less than it does")
    )


def move_installation_on(engine: sa.Engine) -> int:
    """The number of the run that is about to write, one more than that of the last; it is noted here."""
    new = insert(table).values(target=INSTALLATION, counter=1)
    changed = {"counter": table.c.counter + 1, "noted_at": sa.func.now()}
    statement = new.on_conflict_do_update(index_elements=["target"], set_=changed).returning(table.c.counter)
    with engine.begin() as connection:
        return int(connection.execute(statement).scalar_one())


def note_restored(engine: sa.Engine, counter: int) -> datetime:
    """Note that our database was restored from a backup; counter: the number that the storage root has.

    Nobody knows what its triggers saw: the primaries of all products are looked at once.
    """
    new = insert(table).values(target=INSTALLATION, counter=counter, restored_at=sa.func.clock_timestamp())
    changed = {"counter": sa.func.greatest(table.c.counter, counter), "restored_at": new.excluded.restored_at}
    statement = new.on_conflict_do_update(index_elements=["target"], set_=changed).returning(table.c.restored_at)
    images = sa.select(product_image.c.product_id).distinct()
    with engine.begin() as connection:
        moment: datetime = connection.execute(statement).scalar_one()
        connection.execute(sa.insert(primary_to_check).from_select(["product_id"], images))
    return moment


def unread_since(engine: sa.Engine, target: str) -> str:
    """When our database was restored after which this target was not read whole yet, in ISO 8601; '' where it was."""
    query = sa.select(table.c.target, table.c.restored_at).where(table.c.target.in_([INSTALLATION, target]))
    with engine.connect() as connection:
        found = {row.target: row.restored_at for row in connection.execute(query)}
    restored_at = found.get(INSTALLATION)
    if restored_at is None or found.get(target) == restored_at:
        return ""
    return str(restored_at.astimezone(UTC).isoformat())


def note_read(engine: sa.Engine, target: str, restored_at: str) -> None:
    """Note that a target was read whole, and written, after that moment at which our database was restored."""
    values = {"restored_at": datetime.fromisoformat(restored_at)}
    statement = insert(table).values(target=target, counter=0, **values)
    with engine.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["target"], set_=values))
