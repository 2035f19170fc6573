"""Many products in one form: how many at most, each list of them in one field with a line for each.

Of a form a thousand fields are read, and people choose more products than that.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from imagesync_pipelines.web.service import Text

MOST_PRODUCTS = 5_000
"""So many products are chosen, looked at and carried out at once."""
ROWS = 100
"""So many of them are shown on a page, where each has its pictures."""


def in_lines(values: Any) -> Any:
    """The lines of all fields of one name, without empty ones."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return values
    # A browser ends lines its own way.
    return [line for one in values for line in str(one).replace("\r\n", "\n").split("\n") if line]


_LINES, _MOST = BeforeValidator(in_lines), Field(max_length=MOST_PRODUCTS)
# Plytix has SKUs of its own, which the ERP does not have.
Sku = Annotated[Text, Field(min_length=1, max_length=255)]
# Product, picture before (0: none), picture after (0: the rules choose), stamp of both.
Pair = Annotated[Text, Field(pattern=r"^[0-9]{1,18}(:[0-9]{1,18}){3}$")]
# Product, stamp.
LookedAt = Annotated[Text, Field(pattern=r"^[0-9]{1,18}:[0-9]{1,18}$")]

ProductIds = Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], _LINES, _MOST]
Skus = Annotated[list[Sku], _LINES, _MOST]
Pairs = Annotated[list[Pair], _LINES, _MOST]
Stamps = Annotated[list[LookedAt], _LINES, _MOST]
Start = Annotated[int, Field(ge=0, le=MOST_PRODUCTS)]
"""From which of them on a page shows what was planned."""
