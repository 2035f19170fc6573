"""Which groups of a stored plan have moved since it was made."""

from imagesync_pipelines.sync.model import GroupWork, group_state
from imagesync_pipelines.sync.remote import MOVED, moved_groups

EMPTY = group_state(())
FULL = group_state([("a", "f", 1)])


def test_groups_that_are_not_as_they_were_are_named_with_the_reason() -> None:
    works = [
        GroupWork("same", (), FULL),
        GroupWork("changed", (), FULL),
        GroupWork("vanished", (), FULL),
        GroupWork("appeared", (), EMPTY),
        GroupWork("still empty", (), EMPTY),
        GroupWork("not compared", (), None),
    ]
    now = {"same": FULL, "changed": group_state([("a", "g", 1)]), "appeared": FULL, "not compared": FULL}
    assert moved_groups(works, now) == {"changed": MOVED, "vanished": MOVED, "appeared": MOVED}
