"""What is wrong with a body that should be a picture."""

from enum import StrEnum

from imagesync_pipelines.languages import N_


class Fault(StrEnum):
    """What is wrong with a body that is no good picture."""

    EMPTY = N_("empty")
    NO_IMAGE = N_("no image")
    MARKUP = N_("markup")
    BROKEN = N_("broken")
    TOO_LARGE = N_("too large")
    LIMITS = N_("over the limits")
    MISLABELLED = N_("mislabelled")


class BadImageError(Exception):
    """A body that is not accepted as a picture: `fault` is the kind, `reason` one line for people."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


class CannotDeriveError(Exception):
    """A picture of which no smaller copy can be made; the message says why."""
