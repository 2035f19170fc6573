"""Plans that are applied some time after they were made: which of their groups have moved since.

What belongs here: comparing digests, and the scope for planning refused groups again. What does not: keeping plans
(storage), planning again (the caller's business).
"""

from collections.abc import Collection, Iterable, Mapping

from imagesync_pipelines.sync.model import GroupWork, Scope, group_state

MOVED = "it changed at the target since the plan was made; plan again"


def moved_groups(works: Iterable[GroupWork], states_now: Mapping[str, str]) -> dict[str, str]:
    """The groups that are not as they were when the plan was made, each with the reason for refusing it.

    states_now: the digests of what the target holds now (plan.group_states); a group that is not in it has no rows.
    """
    empty = group_state(())
    return {
        work.group: MOVED
        for work in works
        if work.state_before is not None and work.state_before != states_now.get(work.group, empty)
    }


def replan_scope(refused: Collection[str]) -> Scope:
    """The scope for planning refused groups again; it has no proof, so removals wait for the next whole scan."""
    return Scope(groups=frozenset(refused), proof=None)
