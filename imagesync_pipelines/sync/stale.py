"""Whether a stored plan is stale, group by group: what it rests on moved since it was made.

A plan is made of what the source was known to want, for whom, and of how that is to be shown. Each may move until it
is applied. What we did at the target ourselves is no matter here: that the groups' digests tell.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.model import EFFECTS, Change

WANTED_COLUMNS = ("key", "fingerprint")
# What judged_otherwise compares.
JUDGED_COLUMNS = ("key", "group", "change", "fingerprint_after")
WANTED_AGAIN = N_("the source has it again")
GONE = N_("the source does not have it any more")
OTHERWISE = N_("the source has it otherwise now")
OLD_KEY_THERE = N_("the source still has what it was to take the place of")
AGAIN = N_("plan again")


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=list(WANTED_COLUMNS), dtype="str")


@dataclass(frozen=True)
class SourceNow:
    """What is known now of what a plan was made from.

    wanted: what the source wants of the plan's groups: key and fingerprint, NA where any is right. whole: the groups of
    which it wants nothing else, None: all of them. moved: by group, why nothing of an older plan may be written there.
    policy: the settings that decide what is written, by name. by: from where this is known, for people.
    """

    wanted: pd.DataFrame = field(default_factory=_nothing)
    whole: frozenset[str] | None = frozenset()
    moved: Mapping[str, str] = field(default_factory=dict)
    policy: Mapping[str, str] = field(default_factory=dict)
    by: str = ""


def stale_groups(plan: pd.DataFrame, policy: Mapping[str, str], known: Iterable[SourceNow]) -> dict[str, str]:
    """The groups of a plan that must not be written any more, each with the reason for people.

    plan: frames.PLAN_COLUMNS. policy: the settings that it was made with, as far as it names them. A removal is stale
    when its key is wanted now; what is added or updated, when it is gone or otherwise; a rename, when the old key is
    wanted too; a group, when it moved; everything, when a setting changed. What nothing newer is known of stays.
    """
    changing = plan[plan["change"].isin(EFFECTS)]
    groups = changing["group"].unique().tolist()
    found: dict[str, str] = {}
    for now in known:
        changed = [name for name, value in now.policy.items() if policy.get(name, value) != value]
        for name in changed[:1]:
            why = told(f"{name} was {policy[name]} when the plan was made and is {now.policy[name]} now; {AGAIN}")
            found = {**dict.fromkeys(groups, why), **found}
        moved = {group: f"{now.moved[group]}; {AGAIN}" for group in groups if group in now.moved}
        found = {**_otherwise(changing, now), **moved, **found}
    return found


def judged_otherwise(
    changing: pd.DataFrame, newer: pd.DataFrame, *, by: str, policy: tuple[Mapping[str, str], Mapping[str, str]]
) -> dict[str, str]:
    """The groups of which a newer plan does not say what an older one does, each with the reason for people.

    changing: rows of the older plan that change something; newer: all rows of the other. A group that the newer one
    does not know is not judged. policy: the settings of both.
    """
    older_policy, newer_policy = policy
    for name, value in newer_policy.items():
        if older_policy.get(name, value) != value:
            why = told(f"{name} was {older_policy[name]} when the plan was made and is {value} in {by}; {AGAIN}")
            return dict.fromkeys(changing["group"].dropna().unique().tolist(), why)
    known = changing[changing["group"].isin(newer["group"].dropna().unique().tolist())]
    said = newer.drop_duplicates("key").set_index("key")
    there = among(known["key"], newer["key"])
    same = pd.Series(True, index=known.index)
    for column in ("change", "fingerprint_after"):
        old, new = known[column].fillna(""), known["key"].map(said[column]).fillna("")
        same &= old.astype("str") == new.astype("str")
    bad = known[~(there & same)].drop_duplicates("group")
    found = {}
    for group, key in zip(bad["group"].tolist(), bad["key"].tolist(), strict=True):
        now = said["change"].get(key)
        found[str(group)] = (
            told(f"{key}: {by} says {now}; {AGAIN}")
            if isinstance(now, str)
            else told(f"{key}: {by} does not know it any more; {AGAIN}")
        )
    return found


def _otherwise(changing: pd.DataFrame, now: SourceNow) -> dict[str, str]:
    """The groups of which a row is not any more as the source wants it, each with its first such row."""
    keys = now.wanted["key"]
    there, removed = among(changing["key"], keys), changing["change"] == Change.REMOVE
    fingerprint = changing["key"].map(now.wanted.drop_duplicates("key").set_index("key")["fingerprint"])
    other = there & fingerprint.notna() & (fingerprint != changing["fingerprint_after"])
    whole = True if now.whole is None else changing["group"].isin(list(now.whole))
    renamed = changing["key_before"].notna() & (changing["key_before"] != changing["key"])
    both = renamed & among(changing["key_before"], keys)
    whys = np.select(
        [removed & there, ~removed & ~there & whole, ~removed & other, ~removed & both],
        [WANTED_AGAIN, GONE, OTHERWISE, OLD_KEY_THERE],
        default="",
    )
    bad = changing.assign(why=whys)[whys != ""].drop_duplicates("group")
    by = f" (by {now.by})" if now.by else ""
    rows = zip(bad["group"], bad["key"], bad["why"], strict=True)
    return {group: f"{key}: {why}{by}; {AGAIN}" for group, key, why in rows}
