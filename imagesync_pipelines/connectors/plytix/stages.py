"""The stages before the plan, each a function without Dagster: listings, their pictures, Plytix's products.

What belongs here: joining the parts with storage, one function per Dagster asset. What does not: the plan and what
comes of it (plan_stages.py), where listings come from (sources.py), what the UI shows (assets.py, telling.py).
"""

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext

from imagesync_pipelines.connectors.plytix.api.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.api.spapi import CatalogueApi
from imagesync_pipelines.connectors.plytix.desk import Desk
from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.connectors.plytix.galleries import keys_shown, rows_frame, rows_of
from imagesync_pipelines.connectors.plytix.ledger import GalleryIntents
from imagesync_pipelines.connectors.plytix.marketplaces import known_marketplace
from imagesync_pipelines.connectors.plytix.model import PlytixProduct, SetAside
from imagesync_pipelines.connectors.plytix.notes import ImagesNote, ProductsNote, SourceNote
from imagesync_pipelines.connectors.plytix.pictures import picture_fetcher, picture_url
from imagesync_pipelines.connectors.plytix.quality import Quality, look_at_pictures
from imagesync_pipelines.connectors.plytix.recognising import recognise
from imagesync_pipelines.connectors.plytix.rules import choose_listings
from imagesync_pipelines.connectors.plytix.sources import as_amazon_has_them, named_products, only, read_sources
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.notes import keep_note
from imagesync_pipelines.sync.handovers import need_note, note_to_look_at
from imagesync_pipelines.sync.model import QuarantineItem

LISTING_STAGE = "listing"


def take_listings(
    desk: Desk, run_id: str, *, mapping: str, live: bool, marketplace: str, skus: Sequence[str] = ()
) -> SourceNote:
    """Read the mapping file (or all of the folder), and with `live` ask Amazon's catalogue for its products' images.

    marketplace: by country or by Amazon's id; '' is all. skus: these products only; with `live` and without a file they
    need to be in none. Raises SettingsError, MappingError, and the errors of the
    catalogue.
    """
    country = known_marketplace(marketplace)
    if marketplace and country is None:
        raise SettingsError(f"There is no marketplace {marketplace!r}; name its country, such as US, or Amazon's id.")
    marketplace = country or ""
    if live and skus and not mapping:
        read = named_products(skus)
    else:
        read = read_sources(mapping, desk.settings.mapping_folder, desk.place.settings)
        read = only(read, skus) if skus else read
    calls = 0
    with closing(CatalogueApi(desk.settings, desk.place.engine)) if live else nullcontext() as amazon:
        if amazon is not None:
            read = as_amazon_has_them(read, amazon, marketplace)
            calls = amazon.calls
    warnings = list(read.told)
    if read.set_aside:
        first = read.set_aside[0]
        warnings.append(f"{len(read.set_aside)} entries or images cannot be used; {first.where}: {first.reason}.")
    if read.missing:
        warnings.append(f"Amazon's catalogue lacks {len(read.missing)} products, such as {read.missing[0]}.")
    note = SourceNote(
        run_id=run_id,
        source=read.source,
        shape=read.shape,
        live=live,
        marketplace=marketplace,
        entries=read.entries,
        items=read.items,
        set_aside=read.set_aside,
        missing=read.missing,
        calls=calls,
        warnings=tuple(warnings),
    )
    keep_note(desk.place.storage, desk.account, note)
    return note


def choose_images(desk: Desk, run_id: str, *, ancestors: Sequence[str] = ()) -> ImagesNote:
    """Choose one picture per marketplace and variant from what was read; what cannot be used goes to quarantine.

    Raises NoteMissingError.
    """
    read = need_note(desk.place.storage, desk.account, run_id, ancestors, SourceNote)
    chosen = choose_listings(read.items, [read.marketplace] if read.marketplace else [])
    warnings = list(read.warnings)
    if chosen.set_aside:
        first = chosen.set_aside[0]
        warnings.append(f"{len(chosen.set_aside)} images cannot be used; {first.where}: {first.reason}.")
    if read.marketplace and not chosen.listings:
        warnings.append(f"There is no listing of the marketplace {read.marketplace}.")
    skus = {listing.sku for listing in chosen.listings}
    set_aside = (*read.set_aside, *chosen.set_aside)
    note = ImagesNote(
        run_id=run_id,
        source=read.source,
        listings=chosen.listings,
        set_aside=set_aside,
        incomplete=tuple(sorted({entry.where for entry in set_aside} & skus)),
        warnings=tuple(warnings),
    )
    _put_aside(desk, run_id, set_aside)
    keep_note(desk.place.storage, desk.account, note)
    return note


def look_at_images(desk: Desk, run_id: str, *, ancestors: Sequence[str] = ()) -> Quality:
    """Look at a sample of the listings' pictures at Amazon for the image checks, and note their contents in the ledger.

    Which ones follows from the run. Nothing that is found stops anything. Raises NoteMissingError.
    """
    images = note_to_look_at(desk.place.storage, desk.account, run_id, ancestors, ImagesNote)
    quality = look_at_pictures(
        images.listings,
        picture_fetcher(desk.place.settings),
        lambda key: picture_url(key, desk.settings),
        sample=desk.settings.quality_sample,
        seed=run_id,
        min_longest_side=desk.settings.min_longest_side,
        workers=desk.settings.workers,
    )
    desk.ledger.note_contents(quality.contents)
    return quality


def read_products(desk: Desk, api: PlytixApi, run_id: str, *, ancestors: Sequence[str] = ()) -> ProductsNote:
    """Read the products of the listings, settle what an earlier run left open, recognise assets we do not know.

    When the account's calls are used up, nothing counts as read, and the next run goes on. Raises NoteMissingError,
    AccountBusyError when another run works on the account, and the errors of Plytix.
    """
    images = need_note(desk.place.storage, desk.account, run_id, ancestors, ImagesNote)
    calls = api.calls
    intents = desk.intents(run_id)
    with desk.locked():
        unsettled = [intent.group for intent in intents.open_intents()]
        skus = [listing.sku for listing in images.listings]
        try:
            found = api.search_products([*skus, *unsettled])
            read_at = desk.clock()
            recognised = recognise(api, desk.ledger, found, images.listings)
        except HourSpentError as error:
            return _nothing_read(desk, api, run_id, str(error), api.calls - calls)
        if unsettled:
            _settle(desk, intents, found, unsettled)
    note = ProductsNote(
        run_id=run_id,
        read_at=read_at,
        products=tuple(found[sku] for sku in skus if sku in found),
        unknown=tuple(sku for sku in skus if sku not in found),
        recognised=recognised,
        calls=api.calls - calls,
    )
    keep_note(desk.place.storage, desk.account, note)
    return note


def _nothing_read(desk: Desk, api: PlytixApi, run_id: str, stopped: str, calls: int) -> ProductsNote:
    """The note of a run that begins with the account's calls used up."""
    note = ProductsNote(
        run_id=run_id,
        read_at=desk.clock(),
        products=(),
        unknown=(),
        recognised=0,
        calls=calls,
        stopped=stopped,
        goes_on_at=api.free_at,
    )
    keep_note(desk.place.storage, desk.account, note)
    return note


def _settle(desk: Desk, intents: GalleryIntents, found: Mapping[str, PlytixProduct], unsettled: Sequence[str]) -> None:
    """Record what the galleries hold whose outcome an earlier run did not learn."""
    known = desk.ledger.known()
    rows = [
        row
        for sku in unsettled
        if sku in found
        for row in rows_of(found[sku], list(keys_shown(found[sku], known)), known, with_left=False)
    ]
    intents.settle(rows_frame(rows), unsettled)


def _put_aside(desk: Desk, run_id: str, set_aside: Sequence[SetAside]) -> None:
    """Put what cannot be used in quarantine, and take out what this source no longer has."""
    table = desk.quarantine(run_id)
    items = [
        QuarantineItem(f"{entry.where} {entry.url}".strip(), None, LISTING_STAGE, entry.reason, entry.url or None)
        for entry in set_aside
    ]
    table.put(items)
    bad = {item.key for item in items}
    table.drop([entry.id for entry in table.list() if entry.stage == LISTING_STAGE and entry.key not in bad])
