"""The asset checks of this connector: true sentences about the main account and a child account after a run.

What belongs here: the checks; all of them warn, for the run itself has told what it could not do. What does not: the
guard, which keeps bad news from doing harm before anything is written (sync/guard.py).
"""

from typing import Any

import dagster as dg

from imagesync_pipelines.accounts.moysklad import MAIN
from imagesync_pipelines.connectors.moysklad.assets import ACCOUNTS, CHILD_IMAGES, CONTENT, ENTITY_MAP, MAIN_IMAGES
from imagesync_pipelines.connectors.moysklad.notes import ContentNote, MainNote, MapNote
from imagesync_pipelines.connectors.moysklad.resources import MoyskladResource
from imagesync_pipelines.defs import metadata as shown
from imagesync_pipelines.defs.lineage import ancestors_of
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.notes import N
from imagesync_pipelines.sync.handovers import note_to_look_at


def build_checks() -> list[Any]:
    """All checks of this connector; but for the first, each looks at one child account, which is its partition."""

    @dg.asset_check(asset=MAIN_IMAGES, name="every_entity_was_read")
    def every_entity_was_read(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource
    ) -> dg.AssetCheckResult:
        """The reading proved that it saw everything, with the images of each; without that nothing counts as gone."""
        with installation.open() as place:
            note = _note(place, MAIN, context, MainNote)
        problems = [f"{key}: {why}" for key, why in sorted(note.unread.items())]
        return dg.AssetCheckResult(
            passed=note.complete and not problems,
            severity=dg.AssetCheckSeverity.WARN,
            description=note.reason or f"{len(problems)} entities stay as they were read before",
            metadata={"entities": shown.markdown_list(problems), "number": len(problems)},
        )

    @dg.asset_check(asset=ENTITY_MAP, name="every_entity_has_a_counterpart", partitions_def=ACCOUNTS)
    def every_entity_has_a_counterpart(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource
    ) -> dg.AssetCheckResult:
        """Each entity with images is found in the child account, by a value that only one there has."""
        with installation.open() as place:
            note = _note(place, context.partition_key, context, MapNote)
        problems = [f"{one.name} ({one.key}): {one.reason}" for one in note.unmapped]
        return dg.AssetCheckResult(
            passed=not problems,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(problems)} entities without a counterpart",
            metadata={"entities": shown.markdown_list(problems), "number": len(problems)},
        )

    @dg.asset_check(asset=CONTENT, name="every_picture_could_be_had", partitions_def=ACCOUNTS)
    def every_picture_could_be_had(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource
    ) -> dg.AssetCheckResult:
        """Each picture that the plan needs was downloaded whole, or was kept, and can be decoded to its last byte."""
        with installation.open() as place:
            note = _note(place, context.partition_key, context, ContentNote)
        problems = [f"{key}: {why}" for key, why in sorted(note.failed.items())]
        return dg.AssetCheckResult(
            passed=not problems and not note.left,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(problems)} pictures could not be had, {note.left} wait for the next run",
            metadata={"pictures": shown.markdown_list(problems), "number": len(problems)},
        )

    @dg.asset_check(asset=CHILD_IMAGES, name="no_image_is_in_quarantine", partitions_def=ACCOUNTS)
    def no_image_is_in_quarantine(
        context: dg.AssetCheckExecutionContext, installation: InstallationResource, moysklad: MoyskladResource
    ) -> dg.AssetCheckResult:
        """No image of the account is set aside; one that is has its reason and is tried again at every run."""
        with installation.open() as place:
            aside = moysklad.desk(place, context.partition_key).quarantine(context.run.run_id).list()
        return dg.AssetCheckResult(
            passed=not aside,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(aside)} images are set aside",
            metadata={
                "images": shown.markdown_list([f"{entry.key}: {entry.reason}" for entry in aside]),
                "number": len(aside),
            },
        )

    return [
        every_entity_was_read,
        every_entity_has_a_counterpart,
        every_picture_could_be_had,
        no_image_is_in_quarantine,
    ]


def _note(place: Installation, account: str, context: dg.AssetCheckExecutionContext, kind: type[N]) -> N:
    return note_to_look_at(place.storage, account, context.run.run_id, ancestors_of(context), kind)
