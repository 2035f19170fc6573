"""Fields that only describe: one that cannot be read costs itself, never the picture that it is about."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from imagesync_pipelines import languages

T = TypeVar("T")

SHOWN_CHARACTERS = 40
# An id, a number, a name at most: an index of ours takes 2,704 bytes of all its columns, and a letter has up to four.
KEY_CHARACTERS = 255
# The longest address that is read; none is in an index.
ADDRESS_CHARACTERS = 4000


def read_details(
    adapter: TypeAdapter[T], raw: object, details: Collection[str], *, context: Any = None
) -> tuple[T, tuple[str, ...]]:
    """Read a document; fields with these names are left out where they cannot be read, at any depth.

    Gives what was read, and the details that were left out, for people.

    Raises the ValidationError of a document in which anything else cannot be read.
    """
    try:
        return adapter.validate_python(raw, context=context), ()
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        places = list(dict.fromkeys(_place(problem["loc"], details) for problem in problems))
        if () in places:
            raise
    told, rest = [], raw
    for place in places:
        told.append(f"{'.'.join(map(str, place))} {_shown(_at(raw, place))}")
        rest = _without(rest, place)
    return adapter.validate_python(rest, context=context), tuple(told)


def keepable(text: str) -> str:
    """Text as PostgreSQL can keep it: without NUL, and lone surrogates replaced."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def details_told(source: str, left_out: Sequence[tuple[str, str]]) -> list[str]:
    """The warning about details that were left out: of what, and which; none where there are none."""
    if not left_out:
        return []
    where, what = left_out[0]
    return [
        languages.told(
            f"{source}: {len(left_out)} details of images cannot be read and were left out, their images "
            f"are taken; the first, {where}: {what}."
        )
    ]


def _place(loc: Sequence[int | str], details: Collection[str]) -> tuple[int | str, ...]:
    """Where the detail is in which something is wrong; () when it is in no detail."""
    for end, name in enumerate(loc, 1):
        if name in details:
            return tuple(loc[:end])
    return ()


def _at(value: Any, place: Sequence[int | str]) -> object:
    for name in place:
        value = value[name]
    return value


def _without(value: Any, place: Sequence[int | str]) -> Any:
    """The same document without what is at a place; the one that was given stays as it is."""
    first, *rest = place
    if isinstance(value, Mapping):
        inside = {} if not rest else {first: _without(value[first], rest)}
        return {name: item for name, item in value.items() if name != first} | inside
    return [_without(item, rest) if number == first else item for number, item in enumerate(value)]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
