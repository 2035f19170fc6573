"""A believable day at head office, for demos and end-to-end tests.

What belongs here: how much of what happens in a day. What does not: the single change (changes/).
"""

from imagesync_pipelines.sandbox.head_office.photos import WEBP
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox

# Shares of the first photos; at least one of each. Of 150: 5, 3, 2, 2 and 1.
REPLACED, ADDED, DELETED, REORDERED, SWITCHED_OFF = 0.03, 0.02, 0.013, 0.013, 0.007


def demo_changes(sandbox: HeadOfficeSandbox) -> list[str]:
    """Change about 8 % of the photos and say what was done, in order: one line per change.

    Each change is to another product. A second day raises MutationError when too few unchanged products are left.
    """
    total = len(sandbox.beginning.products)
    done = [sandbox.mutate("replace", kind=WEBP)]
    for operator, share in (
        ("replace", REPLACED),
        ("add", ADDED),
        ("delete_row", DELETED),
        ("edit", REORDERED),
        ("deactivate_product", SWITCHED_OFF),
    ):
        done += [sandbox.mutate(operator) for _ in range(max(1, round(total * share)))]
    return [f"{change.operator}: {change.detail}" for change in done]
