"""A believable day at head office: how much of what happens.

What belongs here: numbers and operators. What does not: the operators themselves.
"""

from imagesync_pipelines.sandbox.head_office.changes.bench import Bench
from imagesync_pipelines.sandbox.head_office.changes.mutator import mutate
from imagesync_pipelines.sandbox.head_office.photos import WEBP

# Shares of the first photos; at least one of each. Of 150: 4, 3, 2, 2 and 1.
REPLACED, ADDED, DELETED, REORDERED, SWITCHED_OFF = 0.03, 0.02, 0.013, 0.013, 0.007


def change_a_day(bench: Bench) -> list[str]:
    """Change about 8 % of the photos and say what was done, in order: one line per change.

    Each change is to another product, unless all were changed before.
    """
    total = len(bench.beginning.products)
    done = [mutate(bench, "replace", kind=WEBP)]
    for operator, share in (
        ("replace", REPLACED),
        ("add", ADDED),
        ("delete_row", DELETED),
        ("edit", REORDERED),
        ("deactivate_product", SWITCHED_OFF),
    ):
        done += [mutate(bench, operator) for _ in range(max(1, round(total * share)))]
    return [f"{change.operator}: {change.detail}" for change in done]
