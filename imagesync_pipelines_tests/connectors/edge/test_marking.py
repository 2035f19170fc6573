"""Which store a database is: a row of ours in it says so, and no run writes into another one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagesync_pipelines.connectors.edge.applying import apply_plan
from imagesync_pipelines.connectors.edge.marking import STORE_ROW
from imagesync_pipelines.connectors.edge.reading import make_plan, take_photos
from imagesync_pipelines.connectors.edge.shown import groups_by_sku
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.sync.identity import IdentityRefusedError
from imagesync_pipelines_tests.edge_installations import STORE, EdgeWorld, edge_world, head_office

OTHER = "store2"
_MARK = "SELECT id::text, installation FROM imagesync_store"
_RECORDED = "SELECT account, identity FROM imagesync.account_identity WHERE connector = 'edge' ORDER BY account"


@pytest.fixture
def world(server: EmbeddedServer, tmp_path: Path) -> Iterator[EdgeWorld]:
    """Two stores of a head office that were never synchronised."""
    with (
        head_office(server, tmp_path / "ho", photos=6) as office,
        edge_world(server, tmp_path / "world", office) as made,
    ):
        yield made


def use(world: EdgeWorld, before: str, after: str) -> None:
    """Change the URL of a database in the accounts file."""
    file = Path(world.environment["IMAGESYNC_ACCOUNTS"])
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


def spelt_otherwise(url: str) -> str:
    """The same database under another address, as with another user, a pooler or a new password."""
    return url + ("&" if "?" in url else "?") + "application_name=again"


def test_a_store_is_recorded_by_the_first_run_that_writes_and_known_by_its_row(world: EdgeWorld) -> None:
    with world.at_store() as run:
        take_photos(run, full=True, dry_run=True)
    assert world.rows("SELECT to_regclass('imagesync_store')") == [(None,)]
    assert world.rows(_RECORDED, None) == []
    assert world.run(full=True).summary.warnings == ()
    ((marked, installation),) = world.rows(_MARK)
    assert world.rows(_RECORDED, None) == [(STORE, marked)]
    assert world.rows("SELECT identity FROM imagesync.account_identity WHERE connector = 'installation'", None) == [
        (installation,)
    ]
    use(world, world.url_of(STORE), spelt_otherwise(world.url_of(STORE)))
    world.office.mutate("add")
    assert world.run().summary.images_added == 1
    with world.at_store() as run:
        assert run.identity.said() == f"{STORE_ROW} {marked}"


def test_two_stores_of_one_database_and_a_database_of_another_store_are_refused(world: EdgeWorld) -> None:
    world.run(full=True)
    before = world.stamps()
    use(world, world.url_of(OTHER), spelt_otherwise(world.url_of(STORE)))
    both = r"\[edge.stores.store2\] and of \[edge.stores.store1\] open one and the same account"
    with pytest.raises(IdentityRefusedError, match=both):
        world.run(OTHER, full=True)
    use(world, spelt_otherwise(world.url_of(STORE)), world.url_of(OTHER))
    world.run(OTHER, full=True)
    ((first, _),), ((second, _),) = world.rows(_MARK), world.rows(_MARK, OTHER)
    # The second store left the file, and the first one's name opens its database.
    file = Path(world.environment["IMAGESYNC_ACCOUNTS"])
    file.write_text(file.read_text(encoding="utf-8").partition(f"[edge.stores.{OTHER}]")[0], encoding="utf-8")
    use(world, world.url_of(STORE), world.url_of(OTHER))
    with pytest.raises(IdentityRefusedError, match=rf"another account than before: {second} .*, and {first} was"):
        world.run(full=True)
    assert world.stamps() == before


def test_a_store_without_its_row_is_adopted_and_that_is_told(world: EdgeWorld) -> None:
    world.run(full=True)
    (mark,) = world.rows(_MARK)
    world.rows("DROP TABLE imagesync_store")
    restored, told = world.run(full=True).summary.warnings
    assert "restored from a backup" in restored
    assert "does not say any more which store it is" in told
    assert world.rows(_MARK) == [mark]
    world.rows("UPDATE imagesync_store SET installation = 'another'")
    (told,) = world.run(full=True).summary.warnings
    assert "is written by another installation too: another, last at" in told
    assert world.run(full=True).summary.warnings == ()


def test_the_database_of_a_head_office_is_no_store(world: EdgeWorld) -> None:
    url = world.office.office.engine.url.render_as_string(hide_password=False)
    use(world, world.url_of(STORE), url)
    with pytest.raises(IdentityRefusedError, match=r"\[edge.stores.store1\] dsn opens the database of a head office"):
        world.run(full=True)
    with world.office.office.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT to_regclass('product_photo')").scalar() is None


def test_a_declared_store_is_looked_at_in_the_very_first_run(world: EdgeWorld) -> None:
    declared = "5f0c1e0a-8d35-4b61-9c55-0d9a1f6f8f10"
    use(world, f"[edge.stores.{STORE}]\n", f'[edge.stores.{STORE}]\naccount_id = "{declared}"\n')
    world.run(full=True)
    assert [row[0] for row in world.rows(_MARK)] == [declared]
    use(world, declared, "0b0c5f3e-54ef-4d3c-a8f5-9a0b3c1d2e4f")
    with pytest.raises(IdentityRefusedError, match=f"opens the account {declared} .* and its account_id says 0b0c5f3e"):
        world.run(full=True)


def test_a_store_restored_from_a_backup_is_noticed_by_the_next_hourly_run_and_read_whole(world: EdgeWorld) -> None:
    world.run(full=True)
    world.rows("CREATE TABLE backup AS SELECT * FROM product_photo")
    ((counter,),) = world.rows("SELECT counter FROM imagesync_store")
    world.office.mutate("add")
    assert world.run().summary.images_added == 1
    whole = world.photos()
    world.rows("DELETE FROM product_photo")
    world.rows("INSERT INTO product_photo SELECT * FROM backup")
    world.rows(f"UPDATE imagesync_store SET counter = {counter}")
    again = world.run().summary
    assert again.images_added == 1
    assert any("restored from a backup" in warning for warning in again.warnings)
    assert world.photos() == whole
    quiet = world.run().summary
    assert (quiet.images_added, quiet.warnings) == (0, ())


def test_our_own_database_restored_from_a_backup_is_noticed_too_and_nothing_is_done_twice(world: EdgeWorld) -> None:
    world.run(full=True)
    before = world.stamps()
    world.rows("UPDATE imagesync.target_memory SET counter = counter - 1", None)
    ((sku,),) = world.rows("SELECT payload ->> 'product_sku' FROM imagesync.mirror ORDER BY key LIMIT 1", None)
    with world.at_store() as run:
        # A run of one product ends nothing of it, though it reads the whole listing.
        some = replace(run, context=replace(run.context, groups_by_sku=groups_by_sku))
        take_photos(some, full=True, dry_run=False, skus=[sku])
        make_plan(some, allow_mass_delete=False, skus=[sku])
        apply_plan(some, None)
    again = world.run().summary
    assert (again.images_added, again.images_updated, again.images_deleted) == (0, 0, 0)
    assert any("restored from a backup" in warning for warning in again.warnings)
    assert world.stamps() == before
    assert world.run().summary.warnings == ()
