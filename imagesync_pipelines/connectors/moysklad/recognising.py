"""Which pictures an entity of a child account shows: known by their ids, else by their bytes.

An id never gets other bytes. What has an id that we do not know is read once where it may be a picture that is missing,
and remembered; that it has the file name and the size proves nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from imagesync_pipelines.connectors.moysklad import rules
from imagesync_pipelines.connectors.moysklad.child import ChildRun
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.downloads import Downloads
from imagesync_pipelines.connectors.moysklad.errors import AccountStoppedError, EntityGoneError, RowsMissingError
from imagesync_pipelines.connectors.moysklad.model import NAME, ChildRecord, ImageRow, Managed, Wanted
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.storage.contents import AddressCheck, Content
from imagesync_pipelines.upstream.errors import UpstreamError


@dataclass(frozen=True)
class Recogniser:
    """Knows the images of one child account again. Used from several threads.

    downloads: of the main account, for pictures that are missing and whose content is not kept; without it only what is
    kept is compared. read: ids of the images that were read for it.
    """

    child: ChildRun
    api: MoyskladApi
    downloads: Downloads | None = None
    read: set[str] = field(default_factory=set)

    def recognise(
        self, rows: Sequence[ImageRow], record: ChildRecord, expected: Sequence[Wanted]
    ) -> tuple[Managed, ...]:
        """What a list that was read holds, in its order; source '' where an image is the owner's.

        expected: the pictures that may be there without our knowing their ids, beside those that were about to be
        written. In a mirror the file name has to be the wanted one too. Raises RowsMissingError when one cannot be
        compared, and the errors of an account that stopped.
        """
        found = rules.known_by_id(rows, record.images)
        written = [one for one in record.writing if one.sha256]
        awaited = [*written, *rules.beyond([rules.awaited(one) for one in expected], written)]
        missing = rules.beyond(awaited, [one for one in found if one is not None])
        strange = [place for place, image in enumerate(found) if image is None]

        def perhaps(one: Managed) -> bool:
            return any(rules.may_be(rows[place], one, by_name=self.child.mirror) for place in strange)

        unread = {one.source for one in missing if perhaps(one) and not one.sha256}
        kept = self._content([one for one in expected if one.source in unread])
        sent = {one.source: rules.sent_as(one, kept[one.source]) for one in expected if one.source in kept}
        known = [sent.get(one.source, one) for one in missing]
        known = [one for one in known if one.sha256]
        for place in strange:
            row = rows[place]
            if any(rules.may_be(row, one, by_name=self.child.mirror) for one in known):
                match = rules.pop_same(known, self.sha256_of(row), row.filename, by_name=self.child.mirror)
                # Where we know of images of ours, any other one with known bytes is the owner's.
                lost = not record.images and not record.writing
                found[place] = match._replace(id=row.id) if match else self.recall(row) if lost else None
        return rules.shown_by(rows, found)

    def recall(self, row: ImageRow) -> Managed | None:
        """An image that is none of those that are missing, by its bytes: ours where we kept them once; else None.

        A mirror's owner has none that would have to be told apart. Raises as `recognise` does.
        """
        sha256 = "" if self.child.mirror else self.sha256_of(row)
        kept = self.child.contents.sources_of(sha256) if sha256 else None
        ours = [source for source in kept or () if source.startswith(rules.source_of(""))]
        return Managed(rules.recalled(sha256), row.id, row.filename, row.size) if ours or kept == [] else None

    def sha256_of(self, row: ImageRow) -> str:
        """The hash of an image's bytes, which are read once; '' when it is gone. Raises as `recognise` does."""
        contents, name = self.child.contents, f"{NAME}:{self.child.alias}:{row.id}"
        if check := contents.checks([name]).get(name):
            return check.sha256
        try:
            sha256 = hashlib.sha256(self.api.download(row)).hexdigest()
        except EntityGoneError:
            return ""
        except AccountStoppedError:
            raise
        except UpstreamError as error:
            raise RowsMissingError(
                f"its image {row.filename or row.id} cannot be read: {error_reason(error)}"
            ) from error
        self.read.add(row.id)
        contents.note_check(AddressCheck(name, sha256, "", "", self.child.context.clock()))
        return sha256

    def _content(self, images: Sequence[Wanted]) -> dict[str, Content]:
        """The content of images of the main account, by identity."""
        if not images:
            return {}
        kept = self.child.kept_of(image.source for image in images)
        if self.downloads is None:
            return kept
        for image in images:
            if image.source not in kept:
                outcome = self.downloads.fetch(image)
                if not isinstance(outcome, int):
                    why = outcome or self.downloads.stopped
                    raise RowsMissingError(f"{image.filename or image.source} of the main account: {why}")
        return self.child.kept_of(image.source for image in images)
