"""What happens at head office between two syncs, for demos and end-to-end tests.

What belongs here: changing a running sandbox as a whole. What does not: how much of what happens (changes/day.py).
"""

from imagesync_pipelines.sandbox.head_office.changes.day import change_a_day
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox


def demo_changes(sandbox: HeadOfficeSandbox) -> list[str]:
    """Let a day pass at head office and give what changed: one line per change, in order."""
    return change_a_day(sandbox.bench)
