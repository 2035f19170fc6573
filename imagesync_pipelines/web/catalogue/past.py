"""The past of a product: the images that it had at a moment, and all that was done in any target, as lines."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.products.export_rows import snapshot
from imagesync_pipelines.products.past import Image, images_at, images_now
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.products.showing import whose_images
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.storage.effects import effects_about, known_since
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.sync.choosing import our_product
from imagesync_pipelines.sync.timeline import Line, called, groups_about, lines_of
from imagesync_pipelines.web.catalogue import models, queries

# So many effects of a product are shown, the newest.
MOST_EFFECTS = 200
# Of a picture they are found among so many of its product's.
MOST_SEARCHED = 2000


class PastUnknownError(LookupError):
    """Nothing is known of that moment; the message says since when it is."""


def shown_at(engine: sa.Engine, product_id: int, at: datetime, showing: ShowingSettings) -> models.ProductImages | None:
    """What was shown for a product at a moment, the primary first; None when there is no such product.

    Whose images a product showed is not kept: they are its own where it had any, else those of the product that lends
    it some now; of its parent's, if that lends it some now, before its own. Raises PastUnknownError.
    """
    sources = [one.name for one in connectors() if one.groups_of is our_product]
    with snapshot(engine) as connection:
        since = known_since(connection)
        if at < since:
            asked, begin = (f"{one.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for one in (at, since))
            raise PastUnknownError(f"What was shown at {asked} UTC is not known: the history begins at {begin} UTC.")
        own_first = showing.image_db_own_images_first
        whose = whose_images(connection, [product_id], own_images_first=own_first).get(product_id)
        parent = connection.scalar(sa.select(product.c.parent_id).where(product.c.id == product_id))
        lender = whose.owner_id if whose is not None else parent or product_id
        own_first = own_first or lender != parent
        owners = dict.fromkeys((product_id, lender) if own_first else (lender, product_id))
        skus = queries.skus_of(connection, owners)
        if product_id not in skus:
            return None
        found = {owner: images_at(connection, sources, owner, at) for owner in owners}
    owner = next((one for one in owners if found[one]), product_id)
    images = [models.Image.model_validate(_as_image(one)) for one in found[owner]]
    lent_by = "" if owner == product_id else skus[owner]
    return models.ProductImages(product_id=product_id, sku=skus[product_id], images_from=lent_by, images=images)


def timeline(engine: sa.Engine, product_id: int, sku: str, image: str = "") -> tuple[list[Line], datetime, bool]:
    """What was done about a product in any target, the newest first; since when that is known; whether older is cut.

    image: only what was done to the picture that is called so, or was so before it was renamed.
    """
    most = MOST_SEARCHED if image else MOST_EFFECTS
    with snapshot(engine) as connection:
        groups = groups_about(connection, connectors(), product_id, sku)
        effects = effects_about(connection, groups, limit=most)
        now = images_now(connection, [product_id])
        since = known_since(connection)
    lines = lines_of(effects, now)
    if image:
        names = called(effects, image)
        lines = [line for line in lines if line.image in names]
    return lines, since, len(effects) == most


def line_of(line: Line) -> models.HistoryLine:
    """A line as the API tells of it."""
    by = {"person": line.by.person, "run_id": line.by.run_id, "undoes_run": line.by.undoes_run}
    told = {name: getattr(line, name) for name in models.HistoryLine.model_fields if name in line._fields}
    return models.HistoryLine.model_validate({**told, **by, "change": line.kind})


def _as_image(row: Image) -> Mapping[str, Any]:
    """A row of product_image as the API tells of it."""
    return {**row, "connector": row["source"], "source": queries.uploaded_from(row["metadata"])}
