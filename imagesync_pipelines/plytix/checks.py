"""The asset checks of this room.

What belongs here: the checks.
"""

from typing import Any


def build_checks() -> list[Any]:
    """All checks of this room."""
    return []
