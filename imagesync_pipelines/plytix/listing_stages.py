"""The stages before Plytix is asked, each a function without Dagster: reading listings, choosing their pictures.

What belongs here: joining sources and rules with storage, one function per Dagster asset. What does not: everything
from Plytix's products on (stages.py), what the UI shows (assets.py, telling.py).
"""

from contextlib import nullcontext

from imagesync_pipelines.plytix.api.spapi import CatalogueApi
from imagesync_pipelines.plytix.notes import ImagesNote, SourceNote, keep_note, need_note
from imagesync_pipelines.plytix.rules import choose_listings
from imagesync_pipelines.plytix.settings import PlytixSettings
from imagesync_pipelines.plytix.sources import as_amazon_has_them, read_sources
from imagesync_pipelines.storage.installation import Installation


def take_listings(
    place: Installation,
    settings: PlytixSettings,
    account: str,
    run_id: str,
    *,
    mapping: str,
    live: bool,
    marketplace: str,
) -> SourceNote:
    """Read the mapping file (or all of the folder), and with `live` ask Amazon's catalogue for its products' images.

    Raises SettingsError, MappingError, and the errors of the catalogue.
    """
    read = read_sources(mapping, settings.mapping_folder, place.settings)
    calls = 0
    with CatalogueApi(settings, place.engine) if live else nullcontext() as amazon:
        if amazon is not None:
            read = as_amazon_has_them(read, amazon, marketplace)
            calls = amazon.calls
    warnings = []
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
    keep_note(place.storage, account, note)
    return note


def choose_images(place: Installation, account: str, run_id: str) -> ImagesNote:
    """Choose one picture per marketplace and variant from what was read. Raises NoteMissingError."""
    read = need_note(place.storage, account, run_id, SourceNote)
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
    keep_note(place.storage, account, note)
    return note
