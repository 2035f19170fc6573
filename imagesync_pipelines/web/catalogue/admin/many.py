"""Many products in one form: how many at most, each list of them in one field with a line for each.

A box that is ticked by hand is a field of its own.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from imagesync_pipelines.web.service import Text

MOST_PRODUCTS = 5_000
"""So many products are chosen, looked at and carried out at once."""
MOST_FIELDS = 4 * MOST_PRODUCTS
"""So many fields of a form are read: enough to say of too many products how many they are."""
LARGEST_FORM = 2 * 1024 * 1024
"""The longest form is what was looked at of MOST_PRODUCTS; a field of a form is no longer than this either."""
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

AnyNumber = Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], _LINES]
"""Products as they were ticked, which may be more than are done at once."""
ProductIds = Annotated[AnyNumber, _MOST]
Skus = Annotated[list[Sku], _LINES, _MOST]
Pairs = Annotated[list[Pair], _LINES, _MOST]
Stamps = Annotated[list[LookedAt], _LINES, _MOST]
Start = Annotated[int, Field(ge=0, le=MOST_PRODUCTS)]
"""From which of them on a page shows what was planned."""
