"""A plan into Plytix: the engine's remote target for galleries and thumbnails, written product by product."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.plytix import errors, planning
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.gallery import IN_GALLERY, IN_GALLERY_AND_THUMBNAIL, merged, picture_key
from imagesync_pipelines.connectors.plytix.ledger import Ledger
from imagesync_pipelines.connectors.plytix.model import PlytixProduct, UploadsMade
from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.connectors.plytix.uploads import Uploads
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.outbox import IN_PART, Details
from imagesync_pipelines.sync.apply import same_for_all
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow, RowResult
from imagesync_pipelines.sync.remote import WHOLE_FRESH_FOR
from imagesync_pipelines.upstream.errors import CredentialsError, UpstreamError

NOT_UPLOADED = N_("the image is not in Plytix: ")
OTHER_THUMBNAIL = N_("Plytix accepted the thumbnail, but its answer has another one; the next run looks again")
NO_PRODUCT = N_("Plytix has no product with this SKU any more; the next run looks again")
NOT_THERE = N_("Plytix accepted the gallery, but its answer lacks this image; the next run looks again")
STILL_THERE = N_("Plytix accepted the gallery, but its answer still holds this image; the next run looks again")
STILL_THUMBNAIL = N_("the MAIN image that is to replace it is not the thumbnail yet")

# The products read in one call with the one that is due: as many as are written before they are old themselves.
LOOK_AHEAD = 40
# What is not about one picture or product: everything after it would end the same way.
FATAL = (CredentialsError, errors.NotAllowedError)
# After these no other image of the product can be written either.
_NOT_OF_ONE_IMAGE = (errors.HourSpentError, errors.ProductUnfitError, *FATAL)


@dataclass
class GalleryTarget:
    """Plytix's galleries as the engine writes them; satisfies its RemoteTarget.

    made: the uploads before; where they were stopped, nothing is written. read_at: when the products of the tasks were
    read; None: in the past. links, thumbnails: what was written, by SKU: links made; the asset that the thumbnail was
    set to. beside: pictures that were linked with other content than the same image had, which is still in the gallery,
    since a link only appends. uploads: the pictures that had to be uploaded meanwhile. stopped: why the rest of the
    plan was left, '' while it was not: it waits for the next run, which plans it again.
    """

    api: PlytixApi
    ledger: Ledger
    tasks: Mapping[str, planning.Task]
    policy: planning.Policy
    made: UploadsMade
    read_at: datetime | None
    clock: Callable[[], datetime]

    def __post_init__(self) -> None:
        """Begin with what the ledger knows and with the products as they were read."""
        self.uploads = Uploads(self.api, self.ledger)
        self.links: dict[str, int] = {}
        self.beside: list[str] = []
        self.thumbnails: dict[str, str] = {}
        self.stopped = self.made.stopped
        self._linked = self.ledger.known().links
        self._products: dict[str, PlytixProduct | None] = {sku: task.product for sku, task in self.tasks.items()}
        self._read_at = dict.fromkeys(self.tasks, self.read_at or datetime.min.replace(tzinfo=UTC))
        self._said: dict[str, dict[str, dict[str, object] | None]] = {}
        self._begun: set[str] = set()
        self._reading = threading.Lock()

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What Plytix holds now of our pictures on these products."""
        known = self.ledger.known()
        try:
            products = self._read(groups)
        except errors.HourSpentError as error:
            # Nothing more is written in this run, so what was there when it was planned will do.
            self.stopped = str(error)
            products = {group: self.tasks[group].product for group in groups}
        return planning.held_rows(self.tasks, products, known, self.policy)

    def apply(self, work: GroupWork) -> list[RowResult]:
        """Write one product's gallery and thumbnail; once the account's calls are used up, the rest is left.

        Raises AnswerLostError, CredentialsError, NotAllowedError, and other errors of Plytix about this product.
        """
        by_patch = self.policy.strategy == "patch" or self.tasks[work.group].whole
        # By row: why it is not as wanted, '' where it is. By picture: the asset that was linked; what was taken out.
        reasons, made, taken = dict[str, str](), dict[str, str](), list[str]()
        outcome, why = Outcome.FAILED, ""
        try:
            product = self._fresh(work.group) if by_patch else self._products.get(work.group)
            if product is None:
                return same_for_all(work, Outcome.FAILED, NO_PRODUCT)
            if by_patch:
                reasons, made, taken = self._write_by_patch(work, product)
            else:
                self._write_by_links(work, product, reasons, made)
        except (errors.HourSpentError, errors.ProductUnfitError, errors.WriteRefusedError) as error:
            why = error_reason(error)
            if isinstance(error, errors.HourSpentError):
                outcome, why = Outcome.REFUSED, str(error)
                self.stopped = why
            # What was appended is appended, but the thumbnail is not what it should be.
            reasons = {row.key: reasons[row.key] for row in work.rows if row.key in reasons and not _is_thumbnail(row)}
        finally:
            self.links[work.group] = len(made)
        # Images that were put in order stand where this write put them.
        ordered = self._ordered(work.group) if self.tasks[work.group].whole and not why else {}
        results = [
            _told(row, reasons[row.key]) if row.key in reasons else _told(row, why, outcome) for row in work.rows
        ]
        self.ledger.end_links(work.group, ordered | made, taken, self._in_part(results, made, taken))
        return results

    def _in_part(self, results: Iterable[RowResult], made: Collection[str], taken: Collection[str]) -> Details:
        """What the history says of pictures that were linked or taken out, although all of their rows is not done."""
        details: dict[str, dict[str, object]] = {}
        for result in results:
            said, key = self._said.get(result.group, {}).get(result.key), picture_key(result.key)
            linked = result.change is Change.ADD and key in made
            if result.outcome is not Outcome.DONE and said and (linked or key in taken):
                details[result.key] = {**said, IN_PART: {"fingerprint_after": IN_GALLERY if linked else None}}
        return details

    def _ordered(self, sku: str) -> dict[str, str]:
        """The images of a product that we had put into its gallery before, key to asset."""
        known = {key: self._linked[sku, key] for key in self.tasks[sku].keys if (sku, key) in self._linked}
        return {key: asset for key, asset in known.items() if asset == self.uploads.asset_of(key)}

    def _write_by_links(
        self, work: GroupWork, product: PlytixProduct, reasons: dict[str, str], made: dict[str, str]
    ) -> None:
        """Append the images that are missing, in the order of the listing, then set the thumbnail.

        reasons, made: what became of it, as far as it came.
        """
        urls = {image.key: image.url for image in self.tasks[work.group].images}
        reasons |= self._not_uploaded(work)
        assets = self.uploads.assets_of(picture_key(row.key) for row in work.rows)
        missing = {key: asset for key, asset in assets.items() if asset not in product.gallery}
        self.ledger.begin_links(work.group, missing, self._details(work, product))
        for row in work.rows:
            key = picture_key(row.key)
            if row.key not in reasons:
                reasons[row.key] = self._append(product, key, urls[key], made) if key in missing else ""
        if any(picture_key(row.key) in missing.keys() - made.keys() and not reasons[row.key] for row in work.rows):
            # Somebody else linked it meanwhile, and may have set the thumbnail too.
            now = self._read([work.group]).get(work.group, product)
            product = product._replace(thumbnail=now.thumbnail)
        if self.uploads.assets_of(assets) != assets or made.keys() != missing.keys():
            # An asset was gone and uploaded anew, or was linked by somebody else.
            self.ledger.begin_links(work.group, {}, self._details(work, product, made))
        # The thumbnail is set in a call of its own, where it has to be.
        thumbnail, why = self._new_thumbnail(work, product, reasons), ""
        answered = None
        if thumbnail is not None:
            try:
                answered = self.api.patch_product(product.id, thumbnail=thumbnail)
            except _NOT_OF_ONE_IMAGE:
                raise
            except UpstreamError as error:
                why = languages.told(f"the thumbnail could not be set: {error_reason(error)}")
        reasons |= self._told_of_thumbnail(work, reasons, thumbnail, answered, why)

    def _append(self, product: PlytixProduct, key: str, url: str, made: dict[str, str]) -> str:
        """Link one image, and note it in `made` if that was we; why it could not be, '' when it is there now.

        An asset that Plytix does not have any more is uploaded again first, once.
        """
        asset = self.uploads.asset_of(key) or ""
        try:
            try:
                linked = self.api.link(product.id, asset)
            except errors.AssetGoneError:
                asset = self.uploads.replace(key, url, asset)
                linked = self.api.link(product.id, asset)
        except _NOT_OF_ONE_IMAGE:
            raise
        except UpstreamError as error:
            return error_reason(error)
        if linked:
            made[key] = asset
            if self._linked.get((product.sku, key)) in product.gallery:
                self.beside.append(key)
        return ""

    def _write_by_patch(
        self, work: GroupWork, product: PlytixProduct, *, again: bool = False
    ) -> tuple[dict[str, str], dict[str, str], list[str]]:
        """Merge our images into the gallery as it is now, and write it and the thumbnail in one call.

        No call is made if all is there. Gives the reasons, what was linked, and what was taken out. again: what was
        gone has been uploaded anew.
        """
        reasons = self._not_uploaded(work)
        written = {picture_key(row.key) for row in work.rows if row.change is not Change.REMOVE}
        sent = self.uploads.assets_of(self.tasks[work.group].keys)
        ours = {key: asset for key, asset in sent.items() if key in written or asset in product.gallery}
        removed = [picture_key(row.key) for row in work.rows if row.change is Change.REMOVE]
        # With the asset that we had put there: the picture may have been uploaded again for another product since.
        assets = ((key, (self.uploads.asset_of(key), self._linked.get((work.group, key)))) for key in removed)
        taken = {key: {asset for asset in both if asset is not None} for key, both in assets}
        # An image that was uploaded again: the asset that we had put there makes room for the new one.
        replaced = {old for key, asset in ours.items() if (old := self._linked.get((work.group, key), asset)) != asset}
        gallery = merged(product.gallery, list(ours.values()), replaced.union(*taken.values()))
        new = {key: asset for key, asset in ours.items() if asset not in product.gallery}
        thumbnail = self._new_thumbnail(work, product, reasons)
        changed = gallery != list(product.gallery)
        answered = None
        if changed or thumbnail is not None:
            self.ledger.begin_links(work.group, new, self._details(work, product, gallery=gallery))
            try:
                answered = self.api.patch_product(product.id, gallery=gallery if changed else None, thumbnail=thumbnail)
            except errors.WriteRefusedError:
                now = None if again else self._without_gone_assets(product, sent)
                if now is None:
                    raise
                return self._write_by_patch(work, now, again=True)
        else:
            # All was so already.
            self._said[work.group] = nothing = dict.fromkeys((row.key for row in work.rows), None)
            self.ledger.begin_links(work.group, {}, nothing)
        held = set(answered.gallery if answered is not None else gallery)
        for row in work.rows:
            gone = row.change is Change.REMOVE
            key = picture_key(row.key)
            is_there = not held.isdisjoint(taken[key]) if gone else self.uploads.asset_of(key) in held
            if row.key not in reasons and is_there is gone:
                reasons[row.key] = STILL_THERE if gone else NOT_THERE
        reasons |= self._told_of_thumbnail(work, reasons, thumbnail, answered)
        made = {key: asset for key, asset in new.items() if asset in held}
        return reasons, made, [key for key in removed if held.isdisjoint(taken[key])]

    def _details(
        self, work: GroupWork, product: PlytixProduct, made: Collection[str] | None = None, gallery: Sequence[str] = ()
    ) -> dict[str, dict[str, object] | None]:
        """What the history says of a gallery's rows: the assets, which stay in Plytix's library whatever becomes of it.

        product: as it was before the call. made: the keys that were linked; None: it was not called yet. gallery: all
        of it as it is to be, where it is written whole; told of the first row, with what it was.
        """
        main, details = _main(work), dict[str, dict[str, object] | None]()
        for row in work.rows:
            key = picture_key(row.key)
            mine, linked = self.uploads.asset_of(key), self._linked.get((work.group, key))
            place = next((at for at, asset in enumerate(product.gallery) if asset in (mine, linked)), None)
            name, before = file_name(key), dict[str, object]()
            if place is not None:
                before |= {"asset": product.gallery[place], "name": name, "place": place}
            if row is main:
                before["thumbnail"] = product.thumbnail
            said: dict[str, object] = {"before": before} if before else {}
            if row.change is not Change.REMOVE:
                said["after"] = {"asset": mine, "name": name}
            linked_before = mine in product.gallery or (made is not None and key not in made)
            as_wanted = _is_as_wanted(row, linked_before, product.thumbnail == mine)
            is_gone = row.change is Change.REMOVE and place is None
            details[row.key] = None if as_wanted or is_gone else said
        told = [said for said in details.values() if said is not None] if list(gallery) != list(product.gallery) else []
        for name, all_of_it in (("before", product.gallery), ("after", gallery)) if gallery and told else ():
            told[0][name] = {**dict(told[0].get(name, ())), "gallery": list(all_of_it)}  # type: ignore[call-overload]
        self._said[work.group] = details
        return details

    def _without_gone_assets(self, product: PlytixProduct, sent: Mapping[str, str]) -> PlytixProduct | None:
        """After a refused patch: upload again what Plytix does not have any more; the product as it is now.

        sent: our assets as they were before the patch, by key; another product may have replaced one meanwhile. None
        when every asset is there: then something else was refused.
        """
        urls = {image.key: image.url for image in self.tasks[product.sku].images}
        keys = {asset: key for key, asset in self.uploads.assets_of(self.tasks[product.sku].keys).items()}
        asked = list(dict.fromkeys((*product.gallery, *keys)))
        there = self.api.assets_by_id(asked)
        gone = [asset for asset in asked if asset not in there]
        for asset in gone:
            if asset in keys:
                self.uploads.replace(keys[asset], urls[keys[asset]], asset)
        if not gone and self.uploads.assets_of(self.tasks[product.sku].keys) == sent:
            return None
        return self._read([product.sku]).get(product.sku)

    def _read(self, skus: Sequence[str]) -> dict[str, PlytixProduct]:
        found = self.api.search_products(skus)
        now = self.clock()
        for sku in skus:
            self._products[sku] = found.get(sku)
            self._read_at[sku] = now
        return found

    def _fresh(self, sku: str) -> PlytixProduct | None:
        """A product as it was at most 30 seconds ago; with it, those that come next are read again in one call."""
        with self._reading:
            self._begun.add(sku)
            if self.clock() - self._read_at[sku] > WHOLE_FRESH_FOR:
                others = (other for other in sorted(self.tasks) if other not in self._begun)
                self._read([sku, *islice(others, LOOK_AHEAD - 1)])
            return self._products.get(sku)

    def _not_uploaded(self, work: GroupWork) -> dict[str, str]:
        return {
            row.key: NOT_UPLOADED + self.made.failed.get(picture_key(row.key), languages.told("it was not uploaded"))
            for row in work.rows
            if row.change is not Change.REMOVE and self.uploads.asset_of(picture_key(row.key)) is None
        }

    def _new_thumbnail(self, work: GroupWork, product: PlytixProduct, reasons: Mapping[str, str]) -> str | None:
        """The asset that has to become the thumbnail; None when it is, or no row says so or its image is missing."""
        main = _main(work)
        if main is None or reasons.get(main.key):
            return None
        asset = self.uploads.asset_of(picture_key(main.key))
        return None if asset == product.thumbnail else asset

    def _told_of_thumbnail(
        self,
        work: GroupWork,
        reasons: Mapping[str, str],
        thumbnail: str | None,
        answered: PlytixProduct | None,
        why: str = "",
    ) -> dict[str, str]:
        """Note the thumbnail that was written; what one that was not set means for the rows that it concerns.

        answered: the product after the call, None where the answer does not say. why: the call failed.
        """
        if thumbnail is not None and not why:
            if answered is None or answered.thumbnail == thumbnail:
                self.thumbnails[work.group] = thumbnail
            else:
                why = OTHER_THUMBNAIL
        main = _main(work)
        if main is None or not (why := reasons.get(main.key) or why):
            return {}
        return {row.key: STILL_THUMBNAIL for row in work.rows if _is_thumbnail(row)} | {main.key: why}


def _main(work: GroupWork) -> PlanRow | None:
    return next((row for row in work.rows if row.fingerprint_after == IN_GALLERY_AND_THUMBNAIL), None)


def _is_thumbnail(row: PlanRow) -> bool:
    return IN_GALLERY_AND_THUMBNAIL in (row.fingerprint_before, row.fingerprint_after)


def _is_as_wanted(row: PlanRow, linked: bool, is_thumbnail: bool) -> bool:
    """Whether a picture that is to be shown is so before the call; what is only put in order never is."""
    by_thumbnail = row.fingerprint_after == IN_GALLERY_AND_THUMBNAIL
    decides = row.change is Change.ADD or _is_thumbnail(row)
    return decides and row.change is not Change.REMOVE and linked and is_thumbnail is by_thumbnail


def _told(row: PlanRow, reason: str, outcome: Outcome = Outcome.FAILED) -> RowResult:
    """The result of a row; it is done where no reason says otherwise."""
    return RowResult(row.key, row.group, row.change, outcome if reason else Outcome.DONE, reason or row.reason)
