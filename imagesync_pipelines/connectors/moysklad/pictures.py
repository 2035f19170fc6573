"""Some pictures of a plan, for people to see what changes.

What belongs here: finding them among kept content. What does not: keeping it (storage/contents.py), showing it
(operations/thumbnails.py).
"""

from collections.abc import Callable

from imagesync_pipelines.connectors.moysklad.desk import Desk
from imagesync_pipelines.connectors.moysklad.downloading import source_of
from imagesync_pipelines.connectors.moysklad.tasks import tasks_of
from imagesync_pipelines.storage.plans import Plans


def of_plan(desk: Desk, plan_id: int, number: int) -> tuple[list[tuple[str, str]], Callable[[str], bytes]]:
    """The first images of a stored plan whose content is kept, each once: label and source; and what reads a source."""
    plans = Plans(desk.place.engine, desk.place.storage)
    payload = plans.load_payload(plan_id)
    tasks = tasks_of(payload) if payload is not None else {}
    names = {source_of(image.source): image.filename for task in tasks.values() for image in task.images}
    kept = desk.contents.find(names)
    shown = [(name, source) for source, name in names.items() if source in kept][:number]
    return shown, lambda source: desk.contents.read(kept[source])
