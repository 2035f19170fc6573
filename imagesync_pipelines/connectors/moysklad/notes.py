"""What a stage leaves for the next one, for the checks and for people: small files below the storage root.

What belongs here: what the notes of the stages hold. What does not: keeping notes (storage/notes.py), the mirror, the
map and the plan, which are in the database.
"""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from imagesync_pipelines.connectors.moysklad.reading import CONNECTOR
from imagesync_pipelines.storage.notes import RunNote


class MainNote(RunNote):
    """What was read of the main account: see reading.MainReading; asked: the entities that were asked for, or none."""

    connector: ClassVar[str] = CONNECTOR
    asset: ClassVar[str] = "main_images"

    asked: tuple[str, ...]
    full: bool
    complete: bool
    reason: str
    seen: dict[str, int]
    images: int
    new: int
    changed: int
    deleted: int
    archived: int
    unread: dict[str, str]
    calls: int
    warnings: tuple[str, ...]


class Unmapped(BaseModel):
    """An entity of the main account that was not found in the child account, and why."""

    model_config = ConfigDict(frozen=True)

    key: str
    name: str
    reason: str


class MapNote(RunNote):
    """The counterparts of the main account's entities that have images, by type; unmapped: those without one."""

    connector: ClassVar[str] = CONNECTOR
    asset: ClassVar[str] = "entity_map"

    mapped: dict[str, int]
    new: int
    unmapped: tuple[Unmapped, ...]
    calls: int
    warnings: tuple[str, ...]


class ContentNote(RunNote):
    """What became of the images that a plan needs.

    needed: how many; kept: those whose content was there. downloaded: name and bytes. failed: identity to reason. disk:
    pictures that are kept, of all connectors, and their bytes. calls: to the main account.
    """

    connector: ClassVar[str] = CONNECTOR
    asset: ClassVar[str] = "content"

    plan_id: int
    needed: int = 0
    kept: int = 0
    downloaded: tuple[tuple[str, int], ...] = ()
    reencoded: int = 0
    failed: dict[str, str] = Field(default_factory=dict)
    left: int = 0
    stopped: str = ""
    calls: int = 0
    disk_count: int = 0
    disk_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Bytes downloaded."""
        return sum(size for _, size in self.downloaded)
