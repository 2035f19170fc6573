"""Cursors of a list that goes on: where the last page ended, as text that a URL can carry."""

import base64
import binascii
import json
from collections.abc import Sequence


class CursorError(ValueError):
    """A cursor that this list did not give; begin again without one."""


def encode_cursor(values: Sequence[str | int]) -> str:
    """The values of the last row as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode().rstrip("=")


def decode_cursor(text: str, kinds: Sequence[type]) -> list[str | int]:
    """The values again, of these kinds. Raises CursorError for text that is not such a cursor."""
    try:
        values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or [type(value) for value in values] != list(kinds):
        raise CursorError("This is no cursor of this list; begin again without one.")
    if any(isinstance(value, str) and "\0" in value for value in values):
        raise CursorError("This is no cursor of this list; begin again without one.")
    return values
