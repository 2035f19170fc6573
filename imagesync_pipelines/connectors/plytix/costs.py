"""What applying a plan costs: calls to Plytix, and the minutes that they take at the account's pace.

What belongs here: pure reckoning over a plan. What does not: the plan (planning.py), the limits (api/limits.py).
"""

from collections.abc import Sequence
from math import ceil

import pandas as pd

from imagesync_pipelines.connectors.plytix.galleries import IN_GALLERY_AND_THUMBNAIL
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.sync.model import EFFECTS, Change, PlanCost


def cost_of(plan: pd.DataFrame, uploads: int, strategy: str, windows: Sequence[Window]) -> PlanCost:
    """Calls and minutes to apply a plan: uploads, then links and thumbnails, or one call per product.

    Forced rows are reckoned as if each upload gave another asset. The reads that a stored plan needs are not in it.
    """
    changing = plan[plan["change"].isin(EFFECTS)]
    if strategy == "patch":
        writes = changing["group"].nunique()
    else:
        links = changing["change"] == Change.ADD
        gets_thumbnail = (changing["fingerprint_after"] == IN_GALLERY_AND_THUMBNAIL) & (
            changing["fingerprint_before"] != IN_GALLERY_AND_THUMBNAIL
        )
        forced = changing["reason"] == "forced"
        writes = int(links.sum()) + int(gets_thumbnail.sum()) + int(forced.sum())
    calls = uploads + int(writes)
    return PlanCost(calls, 0, minutes_for(calls, windows))


def minutes_for(calls: int, windows: Sequence[Window]) -> float:
    """Minutes that so many calls take at least: the slowest window rules."""
    seconds = [(ceil(calls / window.calls) - 1) * window.seconds for window in windows if calls]
    return round(max(seconds, default=0) / 60, 1)
