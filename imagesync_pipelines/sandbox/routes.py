"""Which call is which endpoint, for stand-ins that judge a call before they look at its path."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Generic, NamedTuple, TypeVar

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


class FoundDoor(NamedTuple, Generic[Endpoint]):
    """Where a call leads, and the ids in its path, `type` for a choice."""

    door: Door[Endpoint]
    ids: Mapping[str, str]


def find(doors: Iterable[Door[Endpoint]], method: str, path: str) -> FoundDoor[Endpoint] | None:
    """The door of a call; None when there is none. With `""` as method any door of the path will do."""
    for door in doors:
        met = _pattern(door.path).fullmatch(path) if method in ("", door.method) else None
        if met is not None:
            return FoundDoor(door, met.groupdict())
    return None


@cache
def _pattern(path: str) -> re.Pattern[str]:
    named = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]*)", path)
    return re.compile(re.sub(r"(?<=/)\w+(\|\w+)+", r"(?P<type>\g<0>)", named), re.DOTALL)
