"""Which call is which endpoint, for stand-ins that judge a call before they look at its path."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

Endpoint = TypeVar("Endpoint")


@dataclass(frozen=True)
class Door(Generic[Endpoint]):
    """One endpoint: its name in the ledger, its method and its path; `{name}` stands for an id, `a|b` for a choice.

    `versions` are those of the API that have it; `writes` are those that change one entity, which no two may do at
    once.
    """

    name: str
    method: str
    path: str
    endpoint: Endpoint
    versions: tuple[int, ...] = (1,)
    writes: bool = False


@dataclass(frozen=True)
class FoundDoor(Generic[Endpoint]):
    """Where a call leads, and the ids in its path, `type` for a choice."""

    door: Door[Endpoint]
    ids: Mapping[str, str]


def find(doors: Iterable[Door[Endpoint]], method: str, path: str) -> FoundDoor[Endpoint] | None:
    """The door of a call; None when there is none. With `""` as method any door of the path will do."""
    segments = path.split("/")
    for door in doors:
        ids = _ids(_parts(door.path), segments) if method in ("", door.method) else None
        if ids is not None:
            return FoundDoor(door, ids)
    return None


@cache
def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.split("/"))


def _ids(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    ids: dict[str, str] = {}
    for part, segment in zip(pattern, segments, strict=True):
        if part.startswith("{"):
            ids[part[1:-1]] = segment
        elif "|" in part and segment in part.split("|"):
            ids["type"] = segment
        elif part != segment:
            return None
    return ids
