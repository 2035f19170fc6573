"""Cursors of a list that goes on: where the last page ended, as text that a URL can carry."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

_NOT_OURS = "This is no cursor of this list; begin again without one."


class CursorError(ValueError):
    """A cursor that this list did not give; begin again without one."""


def encode_cursor(values: Sequence[str | int | datetime]) -> str:
    """The values of the last row as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(list(values), default=datetime.isoformat).encode()).decode().rstrip("=")


def decode_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """The values again, of these kinds: str, int, or aware datetime. Raises CursorError for text that is none."""
    try:
        values: Any = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if isinstance(values, list) and len(values) == len(kinds):
            values = [_moment(one) if kind is datetime else one for one, kind in zip(values, kinds, strict=True)]
    except (binascii.Error, ValueError, TypeError, RecursionError):
        values = None
    if not isinstance(values, list) or [type(value) for value in values] != list(kinds):
        raise CursorError(_NOT_OURS)
    if any(isinstance(value, str) and "\0" in value for value in values):
        raise CursorError(_NOT_OURS)
    return values


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without its time zone")
    return moment
