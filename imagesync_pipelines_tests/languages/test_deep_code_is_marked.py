"""What deep code says is marked, so that whoever shows it can say it in the reader's language."""

import pytest

from imagesync_pipelines_tests.languages.unmarked import Unmarked, unmarked, unmarked_everywhere

# Files whose texts nobody reads on a page, in an alert or on the command line, and why.
NOT_SHOWN = {
    "connectors/edge/store_schema.py": "comments of the columns of a store's own database",
    "defs/edge.py": "why a sensor started nothing, which Dagster's UI shows",
    "defs/plytix.py": "why a sensor started nothing, which Dagster's UI shows",
    "products/applying.py": "comments of the columns of product_image",
    "sync/frames.py": "faults of a connector's program",
    "sync/remote.py": "faults of a connector's program",
}
# Texts that are no language: of programs, of servers and of SQL.
NOT_LANGUAGE = {
    "PP-OCRv6 small, 1",
    "gzip, deflate",
    "imagesync image-db reset-pages",
    "imagesync returned at",
    "product_id || '/' || external_id",
    "steps in process (pid",
    "timestamp[us, tz=UTC]",
    "NOT p.is_active",
    'exec 3<&0; { cat <&3 >/dev/null; kill $$; } & exec "$@" </dev/null 3<&-',
}
# Faults of a caller in our program, which people see only as such.
OF_OUR_PROGRAM = {
    "Partitions {} of {} were neither read nor failed; a run that reads a part only must not name partitions.",
    "base_url is no http or https URL",
    "base_url must hold neither user name nor query; credentials go into auth",
    "nothing is known",
    "nothing to write: name a gallery or a thumbnail",
    "path must be relative to base_url and without a query; the query goes into params",
    "{} entities in one call; it may be 1 to {}",
}
# By these we know what a server says.
OF_SERVERS = ("too many clients|", "password authentication failed|", "database .*", "the database system is ",
              "server closed the connection|", "No space left on device", "coalesce(")  # fmt: skip


@pytest.fixture(scope="module")
def found() -> list[Unmarked]:
    return list(unmarked_everywhere())


def test_every_sentence_of_deep_code_is_marked(found: list[Unmarked]) -> None:
    left = [
        one
        for one in found
        if one.path not in NOT_SHOWN
        and one.text not in NOT_LANGUAGE | OF_OUR_PROGRAM
        and not one.text.startswith(OF_SERVERS)
    ]
    assert left == []


def test_the_exceptions_are_needed(found: list[Unmarked]) -> None:
    texts, paths = {one.text for one in found}, {one.path for one in found}
    assert texts >= NOT_LANGUAGE | OF_OUR_PROGRAM
    assert paths >= NOT_SHOWN.keys()
    assert [start for start in OF_SERVERS if not any(text.startswith(start) for text in texts)] == []


def test_a_sentence_that_is_not_marked_is_found() -> None:
    source = """
NO_ROOM = "the disk is full"
MARKED = N_("the disk is empty")
QUERY = "SELECT one FROM things"

def tell(error, place, warnings, number):
    if number:
        raise StorageError(f"{number} rows are gone; {place or 'run it again'}")
    if number == 1:
        return StorageError("one row is gone")
    warnings.append("nothing is new" if error else told("nothing is {what}", what=error))
    if place == "none of them":
        raise place.error(OtherError, "the body is empty")
    raise TypeError("no sentence for people")
"""
    assert sorted((one.line, one.text) for one in unmarked(source)) == [
        (2, "the disk is full"),
        (8, "run it again"),
        (10, "one row is gone"),
        (11, "nothing is new"),
        (13, "the body is empty"),
    ]
