"""How old a Dagster asset may be before the UI says that it is late."""

from datetime import timedelta

import dagster as dg


def fresh_within(hours: float) -> dg.FreshnessPolicy:
    """The policy of an asset that must be materialised at least every so many hours."""
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours))
