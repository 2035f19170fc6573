"""How often a password may be tried.

Every try counts, before the password is looked at: tries at the same moment cannot pass together. The name is counted
whether anybody has it or not, so that an answer does not tell. A name that somebody else tries out is closed for its
owner too, for a few minutes: that is the price of guesses that come from many addresses.
"""

import hashlib
import math

import sqlalchemy as sa

from imagesync_pipelines.storage.rate_budget import Window, take

_SECONDS = 15 * 60
BY_NAME = Window(10, _SECONDS)
BY_ADDRESS = Window(30, _SECONDS)


def seconds_to_wait(engine: sa.Engine, name: str, address: str, now: float) -> int:
    """Count one try at logging in; 0 when it may go on, else the seconds until the next may. `now`: since 1970."""
    # The address first: whoever is stopped there does not count against the name.
    for kind, value, window in (("address", address, BY_ADDRESS), ("name", name, BY_NAME)):
        wait = take(engine, _budget_of(kind, value), (window,), now)
        if wait:
            return math.ceil(wait)
    return 0


def _budget_of(kind: str, value: str) -> str:
    # People type passwords into the field of the name: what was typed is not kept.
    return f"catalogue:login:{kind}:{hashlib.sha256(value.encode('utf-8', 'replace')).hexdigest()[:32]}"
