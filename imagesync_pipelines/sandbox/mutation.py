"""Changes of a stand-in's data by the name of an operator, as people and other programs make them between two runs."""

from collections.abc import Callable, Mapping
from inspect import signature
from types import MappingProxyType
from typing import TypeVar

from imagesync_pipelines.sandbox.answers import SandboxError

Made = TypeVar("Made")


class MutationError(SandboxError):
    """A change cannot be made; the message says which and why."""


def operators(*functions: Callable[..., Made]) -> Mapping[str, Callable[..., Made]]:
    """Operators by their names; the first arguments of each are what it works on."""
    return MappingProxyType({function.__name__.lstrip("_"): function for function in functions})


def check(known: Mapping[str, Callable[..., Made]], name: str, /, *first: object, **arguments: object) -> None:
    """Raise MutationError when no operator has this name or it does not take these arguments."""
    if name not in known:
        raise MutationError(f"no operator is called {name}; there are {', '.join(sorted(known))}")
    try:
        signature(known[name]).bind(*first, **arguments)
    except TypeError as error:
        raise MutationError(f"{name}: {error}") from error


def make(known: Mapping[str, Callable[..., Made]], name: str, /, *first: object, **arguments: object) -> Made:
    """Make one change now; raises MutationError."""
    check(known, name, *first, **arguments)
    return known[name](*first, **arguments)
