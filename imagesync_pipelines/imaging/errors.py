"""What is wrong with a body that should be a picture."""

from enum import StrEnum


class Fault(StrEnum):
    """What is wrong with a body that is no good picture."""

    EMPTY = "empty"
    NO_IMAGE = "no image"
    MARKUP = "markup"
    BROKEN = "broken"
    TOO_LARGE = "too large"
    LIMITS = "over the limits"
    MISLABELLED = "mislabelled"


class BadImageError(Exception):
    """A body that is not accepted as a picture: `fault` is the kind, `reason` one line for people."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


class CannotDeriveError(Exception):
    """A picture of which no smaller copy can be made; the message says why."""
