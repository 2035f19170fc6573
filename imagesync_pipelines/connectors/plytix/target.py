"""A plan into Plytix: the engine's remote target for galleries and thumbnails, written product by product."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

import pandas as pd

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.errors import (
    AssetGoneError,
    AttributeUnknownError,
    HourSpentError,
    HourSpentInProductError,
    ProductGoneError,
    WriteRefusedError,
)
from imagesync_pipelines.connectors.plytix.galleries import (
    IN_GALLERY_AND_THUMBNAIL,
    merged,
    picture_key,
    rows_frame,
    rows_of,
)
from imagesync_pipelines.connectors.plytix.ledger import Ledger
from imagesync_pipelines.connectors.plytix.model import LinkAnswer, PlytixProduct
from imagesync_pipelines.connectors.plytix.planning import Policy, Task
from imagesync_pipelines.connectors.plytix.uploading import FATAL, Uploads
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.sync.apply import error_reason, same_for_all
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow, RowResult
from imagesync_pipelines.upstream.errors import UpstreamError

NOT_UPLOADED = "the image is not in Plytix: "
NO_THUMBNAIL = "the thumbnail could not be set: "
OTHER_THUMBNAIL = "Plytix accepted the thumbnail, but its answer has another one; the next run looks again"
NO_PRODUCT = "Plytix has no product with this SKU any more; the next run looks again"
NOT_THERE = "Plytix accepted the gallery, but its answer lacks this image; the next run looks again"
STILL_THERE = "Plytix accepted the gallery, but its answer still holds this image; the next run looks again"
STILL_THUMBNAIL = "the MAIN image that is to replace it is not the thumbnail yet"


# Somebody else may write to a gallery at any time; older than this, it is read again before it is replaced.
FRESH_FOR = timedelta(seconds=30)
# The products read in one call with the one that is due: as many as are written before they are old themselves.
LOOK_AHEAD = 40


class Rereading:
    """What was last read of the products of a plan. Used from several threads.

    order: the SKUs in the order in which they are written. products: as they were at read_at; None: in the past.
    """

    def __init__(
        self,
        api: PlytixApi,
        order: Sequence[str],
        products: Mapping[str, PlytixProduct],
        read_at: datetime | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._clock = clock
        self._order = list(order)
        self._begun: set[str] = set()
        self._lock = threading.Lock()
        self._products: dict[str, PlytixProduct | None] = dict(products)
        long_ago = datetime.min.replace(tzinfo=UTC)
        self._read_at = dict.fromkeys(products, read_at or long_ago)

    def read(self, skus: Sequence[str]) -> dict[str, PlytixProduct]:
        """Read products now; those that Plytix does not have are missing."""
        found = self._api.search_products(skus)
        now = self._clock()
        for sku in skus:
            self._products[sku] = found.get(sku)
            self._read_at[sku] = now
        return found

    def newest(self, sku: str) -> PlytixProduct | None:
        """A product as it was last read, however long ago; None when Plytix did not have it."""
        return self._products.get(sku)

    def fresh(self, sku: str) -> PlytixProduct | None:
        """A product as it was at most 30 seconds ago; with it, those that come next are read again in one call."""
        with self._lock:
            self._begun.add(sku)
            if self._clock() - self._read_at[sku] > FRESH_FOR:
                self.read([sku, *islice((other for other in self._order if other not in self._begun), LOOK_AHEAD - 1)])
            return self._products.get(sku)


@dataclass
class Written:
    """What was written so far, by SKU: links made, images taken out, the asset of the thumbnail that was set.

    beside: links of other content than the same image had, which is still in the gallery: a link only appends.
    """

    links: dict[str, int] = field(default_factory=dict)
    beside: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    thumbnails: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tools:
    """What writing a product needs. links: the asset that we put into a gallery earlier, by SKU and key.

    failed_uploads: why pictures are not in Plytix, by key.
    """

    api: PlytixApi
    ledger: Ledger
    uploads: Uploads
    rereading: Rereading
    links: Mapping[tuple[str, str], str]
    failed_uploads: Mapping[str, str]
    written: Written


def write_by_links(tools: Tools, work: GroupWork, task: Task) -> list[RowResult]:
    """Append the images that are missing, in the order of the listing, then set the thumbnail.

    Raises HourSpentInProductError, and AnswerLostError, CredentialsError and NotAllowedError as they come.
    """
    product = tools.rereading.newest(work.group)
    if product is None:
        return same_for_all(work, Outcome.FAILED, NO_PRODUCT)
    urls = {image.key: image.url for image in task.images}
    reasons = _not_uploaded(tools, work)
    missing = {key: asset for key, asset in _assets(tools, work).items() if asset not in product.gallery}
    made: dict[str, str] = {}
    outcome, why = Outcome.FAILED, ""
    tools.ledger.begin_links(work.group, missing)
    try:
        for row in work.rows:
            key = picture_key(row.key)
            if row.key not in reasons:
                reasons[row.key] = _append(tools, product, key, urls[key], made) if key in missing else ""
        reasons |= _thumbnail_by_itself(tools, work, product, reasons)
    except HourSpentError as error:
        outcome, why = Outcome.REFUSED, str(error)
        # What was appended is appended, but the thumbnail is not what it should be.
        reasons = {row.key: reasons[row.key] for row in work.rows if row.key in reasons and not _is_thumbnail(row)}
    except (ProductGoneError, AttributeUnknownError) as error:
        why = error_reason(error)
    finally:
        tools.written.links[work.group] = len(made)
        tools.written.beside[work.group] = sum(tools.links.get((work.group, key)) in product.gallery for key in made)
    tools.ledger.end_links(work.group, made)
    results = [_result(row, reasons[row.key]) if row.key in reasons else _told(row, outcome, why) for row in work.rows]
    if outcome is Outcome.REFUSED:
        raise HourSpentInProductError(why, results)
    return results


def write_by_patch(tools: Tools, work: GroupWork, task: Task) -> list[RowResult]:
    """Merge our images into the gallery as it is now, and write it and the thumbnail in one call; none if all is there.

    Raises HourSpentInProductError, and AnswerLostError, CredentialsError and NotAllowedError as they come.
    """
    try:
        product = tools.rereading.fresh(work.group)
        if product is None:
            return same_for_all(work, Outcome.FAILED, NO_PRODUCT)
        sent = _assets_of(tools, task)
        try:
            return _patch(tools, work, task, product)
        except WriteRefusedError:
            again = _without_gone_assets(tools, task, product, sent)
            if again is None:
                raise
            return _patch(tools, work, task, again)
    except HourSpentError as error:
        tools.ledger.end_links(work.group, {})
        raise HourSpentInProductError(str(error), same_for_all(work, Outcome.REFUSED, str(error))) from None
    except (ProductGoneError, AttributeUnknownError, WriteRefusedError) as error:
        tools.ledger.end_links(work.group, {})
        return same_for_all(work, Outcome.FAILED, error_reason(error))


def _patch(tools: Tools, work: GroupWork, task: Task, product: PlytixProduct) -> list[RowResult]:
    reasons = _not_uploaded(tools, work)
    written = _assets(tools, work)
    ours = {
        image.key: asset
        for image in task.images
        if (asset := tools.uploads.asset_of(image.key)) is not None
        and (image.key in written or asset in product.gallery)
    }
    taken = {key: tools.uploads.asset_of(key) for key in _keys(work, removed=True)}
    # An image that was uploaded again: the asset that we had put there makes room for the new one.
    replaced = {old for key, asset in ours.items() if (old := tools.links.get((work.group, key), asset)) != asset}
    gallery = merged(product.gallery, list(ours.values()), {asset for asset in taken.values() if asset} | replaced)
    new = {key: asset for key, asset in ours.items() if asset not in product.gallery}
    thumbnail = _missing_thumbnail(tools, work, product, reasons)
    changed = gallery != list(product.gallery)
    answered = None
    if changed or thumbnail is not None:
        tools.ledger.begin_links(work.group, new)
        answered = tools.api.patch_product(product.id, gallery=gallery if changed else None, thumbnail=thumbnail)
    held = set(answered.gallery if answered is not None else gallery)
    for row in work.rows:
        asset = tools.uploads.asset_of(picture_key(row.key))
        if row.key not in reasons and (asset in held) is (row.change is Change.REMOVE):
            reasons[row.key] = NOT_THERE if row.change is not Change.REMOVE else STILL_THERE
    reasons |= _thumbnail_reasons(work, reasons, _answer_lacks(answered, thumbnail))
    tools.ledger.end_links(
        work.group,
        {key: asset for key, asset in new.items() if asset in held},
        [key for key, asset in taken.items() if asset not in held],
    )
    tools.written.links[work.group] = sum(asset in held for asset in new.values())
    tools.written.removed[work.group] = sum(asset not in held for asset in taken.values())
    if thumbnail is not None and not _answer_lacks(answered, thumbnail):
        tools.written.thumbnails[work.group] = thumbnail
    return [_result(row, reasons.get(row.key, "")) for row in work.rows]


def _append(tools: Tools, product: PlytixProduct, key: str, url: str, made: dict[str, str]) -> str:
    """Link one image, and note it in `made` if that was we; why it could not be, '' when it is there now.

    An asset that Plytix does not have any more is uploaded again first, once.
    """
    asset = tools.uploads.asset_of(key) or ""
    try:
        try:
            answer = tools.api.link(product.id, asset)
        except AssetGoneError:
            asset = tools.uploads.replace(key, url, asset)
            answer = tools.api.link(product.id, asset)
    except (HourSpentError, ProductGoneError, AttributeUnknownError, *FATAL):
        raise
    except UpstreamError as error:
        return error_reason(error)
    if answer is LinkAnswer.LINKED:
        made[key] = asset
    return ""


def _thumbnail_by_itself(
    tools: Tools, work: GroupWork, product: PlytixProduct, reasons: Mapping[str, str]
) -> dict[str, str]:
    """Set the thumbnail in a call of its own, where it has to be; what became of the rows that it concerns."""
    thumbnail = _missing_thumbnail(tools, work, product, reasons)
    if thumbnail is None:
        return _thumbnail_reasons(work, reasons, "")
    try:
        answered = tools.api.patch_product(product.id, thumbnail=thumbnail)
    except (HourSpentError, ProductGoneError, *FATAL):
        raise
    except UpstreamError as error:
        return _thumbnail_reasons(work, reasons, NO_THUMBNAIL + error_reason(error))
    lacks = _answer_lacks(answered, thumbnail)
    if not lacks:
        tools.written.thumbnails[work.group] = thumbnail
    return _thumbnail_reasons(work, reasons, lacks)


def _missing_thumbnail(tools: Tools, work: GroupWork, product: PlytixProduct, reasons: Mapping[str, str]) -> str | None:
    """The asset that has to become the thumbnail; None when it is, or when no row says so or its image is missing."""
    main = _main(work)
    if main is None or reasons.get(main.key):
        return None
    asset = tools.uploads.asset_of(picture_key(main.key))
    return None if asset == product.thumbnail else asset


def _answer_lacks(answered: PlytixProduct | None, thumbnail: str | None) -> str:
    """Why the thumbnail is not as it was written, '' when it is or when the answer does not say."""
    if thumbnail is None or answered is None or answered.thumbnail == thumbnail:
        return ""
    return OTHER_THUMBNAIL


def _thumbnail_reasons(work: GroupWork, reasons: Mapping[str, str], why: str) -> dict[str, str]:
    """What a thumbnail that was not set means for the rows that it concerns; nothing when all is well."""
    main = _main(work)
    if main is None:
        return {}
    missing = reasons.get(main.key)
    if not missing and not why:
        return {}
    found = {row.key: STILL_THUMBNAIL for row in work.rows if _is_thumbnail(row) and row is not main}
    return found | {main.key: missing or why}


def _without_gone_assets(
    tools: Tools, task: Task, product: PlytixProduct, sent: Mapping[str, str]
) -> PlytixProduct | None:
    """After a refused patch: upload again what Plytix does not have any more; the product as it is now.

    sent: our assets as they were before the patch, by key; another product may have replaced one meanwhile. None when
    every asset is there: then something else was refused.
    """
    urls = {image.key: image.url for image in task.images}
    keys = {asset: key for key, asset in _assets_of(tools, task).items()}
    there = tools.api.assets_by_id(list(dict.fromkeys((*product.gallery, *keys))))
    gone = [asset for asset in (*product.gallery, *keys) if asset not in there]
    for asset in gone:
        if asset in keys:
            tools.uploads.replace(keys[asset], urls[keys[asset]], asset)
    if not gone and _assets_of(tools, task) == sent:
        return None
    return tools.rereading.read([product.sku]).get(product.sku)


def _assets_of(tools: Tools, task: Task) -> dict[str, str]:
    """The assets of a listing's images, by key; those that were not uploaded are missing."""
    return {image.key: asset for image in task.images if (asset := tools.uploads.asset_of(image.key)) is not None}


def _not_uploaded(tools: Tools, work: GroupWork) -> dict[str, str]:
    """The rows whose image has no asset, with the reason."""
    return {
        row.key: NOT_UPLOADED + tools.failed_uploads.get(picture_key(row.key), "it was not uploaded")
        for row in work.rows
        if row.change is not Change.REMOVE and tools.uploads.asset_of(picture_key(row.key)) is None
    }


def _assets(tools: Tools, work: GroupWork) -> dict[str, str]:
    """The assets of the images that are to be there, by key; those that were not uploaded are missing."""
    keys = _keys(work, removed=False)
    return {key: asset for key in keys if (asset := tools.uploads.asset_of(key)) is not None}


def _keys(work: GroupWork, *, removed: bool) -> list[str]:
    return [picture_key(row.key) for row in work.rows if (row.change is Change.REMOVE) is removed]


def _main(work: GroupWork) -> PlanRow | None:
    """The row that is to be the thumbnail."""
    return next((row for row in work.rows if row.fingerprint_after == IN_GALLERY_AND_THUMBNAIL), None)


def _is_thumbnail(row: PlanRow) -> bool:
    """Whether a row is the thumbnail before or after."""
    return IN_GALLERY_AND_THUMBNAIL in (row.fingerprint_before, row.fingerprint_after)


def _result(row: PlanRow, reason: str) -> RowResult:
    return _told(row, Outcome.FAILED, reason) if reason else _told(row, Outcome.DONE, row.reason)


def _told(row: PlanRow, outcome: Outcome, reason: str) -> RowResult:
    return RowResult(row.key, row.group, row.change, outcome, reason)


# So many products in a row without an answer are no matter of single products.
GIVE_UP_AFTER = 10


class GalleryTarget:
    """Plytix's galleries as the engine writes them; satisfies its RemoteTarget.

    `stopped` says why the rest of the plan was left, '' while it was not: the rows that were left are REFUSED and wait
    for the next run, which plans them again. It may be given from the start, when the uploads were stopped.
    """

    def __init__(self, tools: Tools, tasks: Mapping[str, Task], policy: Policy, *, stopped: str = "") -> None:
        self._tools = tools
        self._tasks = tasks
        self._policy = policy
        self._write = write_by_patch if policy.strategy == "patch" else write_by_links
        self._lock = threading.Lock()
        self._silent = 0
        self.stopped = stopped

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What Plytix holds now of our pictures on these products."""
        known = self._tools.ledger.known()
        try:
            products = self._tools.rereading.read(groups)
        except HourSpentError as error:
            # Nothing more is written in this run, so what was there when it was planned will do.
            self.stopped = str(error)
            products = {group: self._tasks[group].product for group in groups}
        wanted = {group: [image.key for image in self._tasks[group].images] for group in groups}
        with_left = self._policy.remove_missing
        return rows_frame(
            row
            for sku, product in products.items()
            for row in rows_of(product, wanted[sku], known, with_left=with_left)
        )

    def apply(self, work: GroupWork) -> list[RowResult]:
        """Write one product's gallery and thumbnail.

        Once the account's calls are used up, or Plytix does not answer for several products in a row, the rest is
        left. Raises AnswerLostError, CredentialsError, NotAllowedError, and other errors of Plytix about this product.
        """
        if self.stopped:
            return same_for_all(work, Outcome.REFUSED, self.stopped)
        try:
            results = self._write(self._tools, work, self._tasks[work.group])
        except HourSpentInProductError as error:
            self.stopped = str(error)
            return error.results
        except FATAL:
            raise
        except (AnswerLostError, UpstreamError) as error:
            with self._lock:
                self._silent += 1
                if self._silent >= GIVE_UP_AFTER:
                    self.stopped = f"{self._silent} products in a row got no answer, the last: {error}"
            raise
        with self._lock:
            self._silent = 0
        return results
