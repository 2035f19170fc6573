"""What a stored plan keeps of every entity that it changes: all that applying needs of it.

What belongs here: the task of an entity and its form as JSON. What does not: making tasks (planning.py), carrying them
out (writing.py).
"""

from dataclasses import dataclass
from typing import NamedTuple

import orjson
import pandas as pd

from imagesync_pipelines.connectors.moysklad.model import EntityType

# One row per group that changes: what applying needs of it, as JSON, and the group's digest when it was planned.
PAYLOAD_COLUMNS = ("group", "state_before", "task")


class Wanted(NamedTuple):
    """One image that an entity is to have, in its order.

    key: of its row. source: rules.identity. replaces: the child's id of what is in its place until it is there, or ''.
    child_id: what is to stay as it is in the child account, '' for an image of the main account. limit: it is to be
    made smaller than so many bytes; 0: sent as it is. The rest is the main account's row.
    """

    key: str
    source: str
    replaces: str
    child_id: str
    limit: int
    filename: str
    size: int
    download_href: str
    permanent_href: str


@dataclass(frozen=True)
class Task:
    """What is to be known of one entity to write it: its counterpart's id and type, its name, all its images."""

    child_id: str
    type: EntityType
    name: str
    images: tuple[Wanted, ...]

    def as_json(self) -> str:
        """Everything as JSON text; `from_json` is the way back."""
        return orjson.dumps([self.child_id, self.type, self.name, [list(image) for image in self.images]]).decode()

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """The task that `as_json` was made from."""
        child_id, kind, name, images = orjson.loads(text)
        return cls(child_id, kind, name, tuple(Wanted(*image) for image in images))


def tasks_of(payload: pd.DataFrame) -> dict[str, Task]:
    """The tasks of a payload, by group."""
    return {group: Task.from_json(text) for group, text in zip(payload["group"], payload["task"], strict=True)}
