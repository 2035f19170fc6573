"""What a plan of a child account costs: calls to both accounts, bytes, minutes, and what the earlier way would take."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladChild, Ownership
from imagesync_pipelines.connectors.moysklad.client.account import EXPANDED_LIMIT
from imagesync_pipelines.connectors.moysklad.client.limits import UNITS, WINDOW_SECONDS
from imagesync_pipelines.connectors.moysklad.model import ChildRecord, Entity, EntityTask, Wanted
from imagesync_pipelines.connectors.moysklad.rules import (
    MOST_REQUEST_BYTES,
    choose_images,
    earlier_calls,
    encoded_size,
    packed,
)

# What naming an image or an entity takes in a request, about.
_NAMED_BYTES = 250


@dataclass(frozen=True)
class ChildCost:
    """Calls to the child account (writes, and reads of what its owner has) and to the main one (downloads).

    bytes: to be downloaded. minutes: at the accounts' pace at least. earlier: calls of the earlier way for all entities
    that were looked at.
    """

    writes: int
    reads: int
    downloads: int
    bytes: int
    minutes: float
    earlier: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.writes + self.reads + self.downloads


def needed_of(task: EntityTask, record: ChildRecord) -> list[Wanted]:
    """The images of a task that are not there, as far as we know: their content is needed."""
    there = [image.source for image in record.images]
    needed = []
    for image in task.images:
        if image.child_id or image.source in there:
            there = _without(there, image.source)
        else:
            needed.append(image)
    return needed


def cost_of(
    tasks: Mapping[str, EntityTask],
    records: Mapping[str, ChildRecord],
    child: MoyskladChild,
    kept: Collection[str],
    entities: Sequence[Entity],
    *,
    main_weight: int,
    child_weight: int,
) -> ChildCost:
    """The cost of writing these entities. kept: identities of images whose content is there. The weights: units."""
    needed = {group: needed_of(task, records.get(group, ChildRecord())) for group, task in tasks.items()}
    wanted = {image.source: image for images in needed.values() for image in images if image.source not in kept}
    downloads = sum(not image.permanent_href for image in wanted.values())
    bulk = {
        group
        for group in tasks
        if child.bulk_first_fill and needed[group] and not records.get(group, ChildRecord()).images
    }
    writes = sum(_requests(needed[group]) for group in tasks if group not in bulk)
    for kind in sorted({tasks[group].type for group in bulk}):
        writes += _bulk_requests([needed[group] for group in sorted(bulk) if tasks[group].type == kind])
    reads = ceil(len(tasks) / EXPANDED_LIMIT) if child.ownership is Ownership.MANAGED else 0
    units = max(downloads * main_weight, (writes + reads) * child_weight)
    earlier = sum(
        earlier_calls(
            _there(records.get(entity.key, ChildRecord())), len(choose_images(entity.images or (), child.mode))
        )
        for entity in entities
    )
    return ChildCost(
        writes=writes,
        reads=reads,
        downloads=downloads,
        bytes=sum(image.size for image in wanted.values()),
        minutes=round(units / UNITS * WINDOW_SECONDS / 60, 1),
        earlier=earlier,
    )


def _requests(images: Sequence[Wanted]) -> int:
    sizes = [(_encoded(image), _NAMED_BYTES) for image in images]
    return max(1, len(packed(sizes, 0)))


def _bulk_requests(entities: Sequence[Sequence[Wanted]]) -> int:
    sizes = [(_NAMED_BYTES + sum(_encoded(image) for image in images), 0) for images in entities]
    fitting = [size for size in sizes if size[0] <= MOST_REQUEST_BYTES]
    large = [images for images, size in zip(entities, sizes, strict=True) if size[0] > MOST_REQUEST_BYTES]
    portions = packed(fitting, 0)
    return sum(ceil(len(portion) / EXPANDED_LIMIT) for portion in portions) + sum(_requests(images) for images in large)


def _encoded(image: Wanted) -> int:
    return encoded_size(image.filename, min(image.size, image.limit or image.size))


def _there(record: ChildRecord) -> int:
    return len(record.images) + record.others


def _without(sources: Sequence[str], source: str) -> list[str]:
    place = sources.index(source) if source in sources else len(sources)
    return [*sources[:place], *sources[place + 1 :]]
