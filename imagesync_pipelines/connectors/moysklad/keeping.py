"""What an entity of a child account loses stays in the content store as long as an undo may need it.

Most of it is there already, for it was sent from there; the rest is fetched from the child account, before the write.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import pandas as pd

from imagesync_pipelines.connectors.moysklad import errors, rules
from imagesync_pipelines.connectors.moysklad.child import ChildRun
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.model import NAME, ChildRecord, EntityTask, ImageRow, Managed
from imagesync_pipelines.connectors.moysklad.planning import ChildPlan, cost_of, image_rows
from imagesync_pipelines.imaging.validation import check_image
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.outbox import Details
from imagesync_pipelines.sync.apply import item_failure
from imagesync_pipelines.sync.effects import as_wanted, planned_rows
from imagesync_pipelines.sync.guard import approved, is_limited
from imagesync_pipelines.sync.model import Change, GroupWork, PlanCost

NOT_THERE = N_("it was not there any more when this was written")


class Kept(NamedTuple):
    """The SHA-256 of an image whose bytes are kept; lost: why they are not, '' when they are."""

    sha256: str
    lost: str = ""


def leaving_of(plan: pd.DataFrame, records: Mapping[str, ChildRecord]) -> list[Managed]:
    """The images that a plan replaces or removes, as far as we know them."""
    replaced = (plan["change"] == Change.UPDATE) & (plan["fingerprint_before"] != plan["fingerprint_after"])
    rows = plan[replaced | (plan["change"] == Change.REMOVE)]
    there = {
        key: image
        for group in set(rows["group"])
        for key, image in _keyed(group, records.get(group, ChildRecord()).images).items()
    }
    return [there[key] for key in rows["key_before"] if key in there]


def lacking_of(child: ChildRun, leaving: Sequence[Managed]) -> int:
    """How many of these are to be fetched before they leave."""
    kept = child.contents.find_bytes({image.sha256 for image in leaving if image.sha256}) if leaving else {}
    return len({image.id for image in leaving if image.sha256 not in kept})


def cost_of_plan(
    child: ChildRun,
    found: ChildPlan,
    records: Mapping[str, ChildRecord],
    kept: Collection[str],
    *,
    main_weight: int,
    child_weight: int,
) -> tuple[PlanCost, str]:
    """The cost of a plan, and its parts in words, as cost_of has them."""

    def cost(rows: pd.DataFrame, tasks: Mapping[str, EntityTask]) -> tuple[PlanCost, str]:
        lacking = lacking_of(child, leaving_of(rows, records))
        weights = {"main_weight": main_weight, "child_weight": child_weight}
        return cost_of(tasks, records, child.child, kept, lacking=lacking, **weights)

    spent, said = cost(found.plan, found.tasks)
    if is_limited(found.plan):
        most, _ = cost(approved(found.plan), found.if_approved)
        spent = replace(spent, calls_if_approved=most.calls)
    return spent, said


def details_of(
    child: ChildRun,
    api: MoyskladApi,
    work: GroupWork,
    listed: Sequence[ImageRow],
    there: Sequence[Managed],
    listing: rules.ImageListing,
    kept: dict[str, Kept],
) -> Details:
    """What the history says of an entity's rows; what leaves it is kept.

    listed, there: its list as it was just read; listing: as it is to be. kept: what an earlier call kept of it, by id;
    this one adds to it. Raises AccountStoppedError.
    """
    seen = rules.seen_of(there, child.child.ownership)
    before = _keyed(work.group, seen.images)
    places = {key: place for place, key in enumerate(before)}
    sent = {slot.key: slot.image for slot in listing.slots if slot.key and not slot.keep}
    done = done_of(work, seen)
    changing = [row for row in work.rows if row.key not in done]
    leaving = {
        row.key: before[row.key_before]
        for row in changing
        if row.key_before in before and (row.change is Change.REMOVE or row.key in sent)
    }
    new = [image for image in leaving.values() if image.id not in kept]
    kept |= _keep(child, api, {row.id: row for row in listed}, new)
    details: dict[str, dict[str, object] | None] = {row.key: None for row in work.rows}
    for row in changing:
        said: dict[str, object] = {}
        if row.key_before in places:
            said["position_before"] = places[row.key_before]
        elif row.key_before is not None:
            said["lost"] = NOT_THERE
        if row.key in leaving:
            image = leaving[row.key]
            bytes_kept = kept[image.id]
            said["before"] = {"id": image.id, "name": image.filename, "sha256": bytes_kept.sha256}
            if bytes_kept.lost:
                said["lost"] = bytes_kept.lost
        if row.key in sent:
            said["after"] = {"name": sent[row.key].filename, "sha256": sent[row.key].sha256}
        details[row.key] = said
    return details


def done_of(work: GroupWork, seen: ChildRecord) -> set[str]:
    """The keys of an entity's rows that are as they are to be, in what it shows."""
    is_so = as_wanted({row.key: (row.fingerprint, row.position) for row in image_rows(work.group, seen.images)})
    return {row.key for row in planned_rows(work) if is_so(row)}


def _keep(
    child: ChildRun, api: MoyskladApi, listed: Mapping[str, ImageRow], leaving: Sequence[Managed]
) -> dict[str, Kept]:
    """Have the bytes of images of the child account in the content store; by id."""
    if not leaving:
        return {}
    hold = timedelta(days=child.context.installation.settings.undo_days)
    held = child.contents.hold_bytes({image.sha256 for image in leaving if image.sha256}, hold)
    kept: dict[str, Kept] = {}
    for image in leaving:
        if image.id not in kept:
            kept[image.id] = (
                Kept(image.sha256) if image.sha256 in held else _fetched(child, api, listed[image.id], image, hold)
            )
    return kept


def _fetched(child: ChildRun, api: MoyskladApi, row: ImageRow, image: Managed, hold: timedelta) -> Kept:
    try:
        body = api.download(row)
        facts = check_image(body)
        return Kept(child.contents.put(f"{NAME}:{child.alias}:{row.id}", body, facts, hold).sha256)
    except errors.AccountStoppedError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with what leaves, it does not keep what comes away
        return Kept(image.sha256, told(f"its bytes could not be kept: {item_failure(error)}"))


def _keyed(group: str, images: Sequence[Managed]) -> dict[str, Managed]:
    """Images by the keys of their rows."""
    return dict(zip(rules.row_keys(group, images), images, strict=True))
