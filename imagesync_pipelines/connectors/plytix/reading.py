"""The steps before the plan: Amazon's listings, their pictures, Plytix's products; and the checks of what was read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext

import pandas as pd

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.plytix.accounts import plytix_accounts
from imagesync_pipelines.connectors.plytix.client.amazon import CatalogueApi
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.connectors.plytix.galleries import keys_shown, rows_frame, rows_of
from imagesync_pipelines.connectors.plytix.ledger import GalleryIntents, Ledger, NotedAsset, Run, intents_of, ledger_of
from imagesync_pipelines.connectors.plytix.marketplaces import known_marketplace
from imagesync_pipelines.connectors.plytix.model import (
    ImagesChosen,
    Listing,
    ListingsRead,
    PlytixProduct,
    ProductsRead,
    SetAside,
)
from imagesync_pipelines.connectors.plytix.options import ListingsOptions
from imagesync_pipelines.connectors.plytix.quality import (
    Finding,
    Quality,
    look_at_pictures,
    picture_fetcher,
    picture_url,
)
from imagesync_pipelines.connectors.plytix.rules import (
    choose_listings,
    file_name,
    key_of_file_name,
    key_of_renamed_file,
)
from imagesync_pipelines.connectors.plytix.sources import as_amazon_has_them, named_products, only, read_sources
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.model import QuarantineItem
from imagesync_pipelines.sync.steps import CheckResult, StepResult, Table, Texts

LISTING_STAGE = "listing"
# Name → what it says; the names are the true sentences, the texts explain them in the UI.
PICTURE_CHECKS = {
    "every_image_is_large_enough": "The longest side has PLYTIX_MIN_LONGEST_SIDE pixels, so that Amazon can zoom.",
    "every_image_can_be_decoded": "The address gives a picture that can be read to its last byte.",
    "every_main_image_has_a_white_background": "The border of MAIN is white, as Amazon's own rules want it (sampled).",
    "no_listing_shows_an_image_twice": "No two pictures of a listing look the same, whatever their ids and sizes.",
    "every_product_with_images_has_a_main_image": "A listing without MAIN leaves the thumbnail as it is.",
}
PRODUCT_CHECK = {
    "every_listing_has_a_product": (
        "Plytix has a product for every listing; images of a listing without one wait for it."
    )
}


@contextmanager
def open_pim(context: Run) -> Iterator[PlytixApi]:
    """The account's Plytix, for the length of a `with` block. Raises AccountsError."""
    account = plytix_accounts(load_accounts(context.installation.settings)).named(context.account)
    with closing(PlytixApi(account, context.settings, context.installation.engine)) as api:
        yield api


def listings(context: Run, options: ListingsOptions) -> StepResult:
    """The step `listings`; see take_listings."""
    read = take_listings(context, options)
    return StepResult(
        rows=len(read.items),
        numbers={"listings/entries": read.entries, "listings/set_aside": len(read.set_aside)},
        shown={
            "source": read.source,
            "shape": read.shape,
            "marketplace": read.marketplace or "all",
            "catalogue_calls": read.calls,
            "set_aside": Table(set_aside_table(read.set_aside)),
            "missing_at_amazon": Texts(read.missing),
            "warnings": Texts(read.warnings),
        },
        lines=[f"{context.account}: {len(read.items)} products in {read.source} (shape: {read.shape})."],
        warnings=read.warnings,
    )


def take_listings(context: Run, options: ListingsOptions) -> ListingsRead:
    """Read the mapping file (or all of the folder), and with `live` ask Amazon's catalogue for its products' images.

    marketplace: by country or by Amazon's id; '' is all. skus: these products only; with `live` and without a file they
    need to be in none. Raises SettingsError, MappingError, and the errors of the catalogue.
    """
    country = known_marketplace(options.marketplace)
    if options.marketplace and country is None:
        raise SettingsError(
            f"There is no marketplace {options.marketplace!r}; name its country, such as US, or Amazon's id."
        )
    settings, marketplace = context.settings, country or ""
    if options.live and options.skus and not options.mapping:
        read = named_products(options.skus)
    else:
        read = read_sources(options.mapping, settings.mapping_folder, context.installation.settings)
        read = only(read, options.skus) if options.skus else read
    calls = 0
    with closing(CatalogueApi(settings, context.installation.engine)) if options.live else nullcontext() as amazon:
        if amazon is not None:
            read = as_amazon_has_them(read, amazon, marketplace)
            calls = amazon.calls
    warnings = list(read.told)
    if read.set_aside:
        first = read.set_aside[0]
        warnings.append(f"{len(read.set_aside)} entries or images cannot be used; {first.where}: {first.reason}.")
    if read.missing:
        warnings.append(f"Amazon's catalogue lacks {len(read.missing)} products, such as {read.missing[0]}.")
    found = ListingsRead(
        source=read.source,
        shape=read.shape,
        live=options.live,
        marketplace=marketplace,
        entries=read.entries,
        items=read.items,
        set_aside=read.set_aside,
        missing=read.missing,
        calls=calls,
        warnings=tuple(warnings),
    )
    context.keep("listings", found)
    return found


def images(context: Run, _: NoOptions) -> StepResult:
    """The step `images`; see choose_images."""
    chosen = choose_images(context)
    return StepResult(
        rows=sum(len(listing.images) for listing in chosen.listings),
        numbers=images_numbers(chosen),
        shown={
            "listings": Table(listings_table(chosen)),
            "set_aside": Table(set_aside_table(chosen.set_aside)),
        },
        lines=[images_line(context.account, chosen)],
        warnings=chosen.warnings,
    )


def choose_images(context: Run) -> ImagesChosen:
    """Choose one picture per marketplace and variant from what was read; what cannot be used goes to quarantine.

    Raises HandOverMissingError.
    """
    read = context.need("listings", ListingsRead)
    chosen = choose_listings(read.items, [read.marketplace] if read.marketplace else [])
    warnings = list(read.warnings)
    if chosen.set_aside:
        first = chosen.set_aside[0]
        warnings.append(f"{len(chosen.set_aside)} images cannot be used; {first.where}: {first.reason}.")
    if read.marketplace and not chosen.listings:
        warnings.append(f"There is no listing of the marketplace {read.marketplace}.")
    skus = {listing.sku for listing in chosen.listings}
    set_aside = (*read.set_aside, *chosen.set_aside)
    found = ImagesChosen(
        source=read.source,
        listings=chosen.listings,
        set_aside=set_aside,
        incomplete=tuple(sorted({entry.where for entry in set_aside} & skus)),
        warnings=tuple(warnings),
    )
    _put_aside(context, set_aside)
    context.keep("images", found)
    return found


def images_line(account: str, chosen: ImagesChosen) -> str:
    """The choice of pictures in one line for the log."""
    numbers = images_numbers(chosen)
    return (
        f"{account}: {numbers['images/refs']} images of {numbers['images/unique']} pictures on "
        f"{numbers['products/with_images']} of {len(chosen.listings)} listings."
    )


def images_numbers(chosen: ImagesChosen) -> dict[str, int]:
    """The numbers of a choice that the UI plots."""
    return {
        "images/refs": sum(listing.slots for listing in chosen.listings),
        "images/unique": len({image.key for listing in chosen.listings for image in listing.images}),
        "products/with_images": sum(bool(listing.images) for listing in chosen.listings),
        "products/without_main": sum(bool(listing.images) and listing.main is None for listing in chosen.listings),
        "products/parents": sum(listing.is_parent for listing in chosen.listings),
    }


def listings_table(chosen: ImagesChosen) -> pd.DataFrame:
    """The listings: product, how many images, their variants in order."""
    rows = [
        (listing.sku, len(listing.images), " ".join(image.variant or "?" for image in listing.images))
        for listing in chosen.listings
    ]
    return pd.DataFrame(rows, columns=["product", "images", "variants"])


def set_aside_table(entries: Sequence[SetAside]) -> pd.DataFrame:
    """What cannot be used, with the reason."""
    return pd.DataFrame(list(entries), columns=["where", "reason", "url"])


def products(context: Run, _: NoOptions) -> StepResult:
    """The step `products`; see read_products."""
    with open_pim(context) as api:
        read = read_products(context, api)
    return StepResult(
        rows=len(read.products),
        numbers={"products/unknown": len(read.unknown), "api/calls": read.calls},
        shown={
            "unknown_products": Texts(read.unknown),
            "recognised_assets": read.recognised,
            "stopped": read.stopped or "-",
        },
        lines=[products_line(context.account, read)],
    )


def products_line(account: str, read: ProductsRead) -> str:
    """The reading of Plytix in one line for the log."""
    if read.stopped:
        return f"{account}: no product was read from Plytix: {read.stopped}"
    again = f"; {read.recognised} assets were recognised by their names" if read.recognised else ""
    return f"{account}: {len(read.products)} products read from Plytix, {len(read.unknown)} it does not have{again}."


def read_products(context: Run, api: PlytixApi) -> ProductsRead:
    """Read the products of the listings, settle what an earlier run left open, recognise assets we do not know.

    When the account's calls are used up, nothing counts as read, and the next run goes on. Raises HandOverMissingError,
    AccountBusyError when another run works on the account, and the errors of Plytix.
    """
    chosen = context.need("images", ImagesChosen)
    calls = api.calls
    with context.lock():
        found = _read_products(context, api, [listing.sku for listing in chosen.listings], chosen.listings)
    found = found.model_copy(update={"calls": api.calls - calls})
    context.keep("products", found)
    return found


def _read_products(context: Run, api: PlytixApi, skus: Sequence[str], wanted: Sequence[Listing]) -> ProductsRead:
    intents = intents_of(context)
    unsettled = [intent.group for intent in intents.open_intents()]
    try:
        # What is to be settled is asked for in the same call.
        found = api.search_products([*skus, *unsettled])
        read_at = context.clock()
        recognised = recognise(api, ledger_of(context), found, wanted)
    except HourSpentError as error:
        return ProductsRead(
            run_id=context.run_id,
            read_at=context.clock(),
            stopped=str(error),
            goes_on_at=api.free_at,
        )
    _settle(context, intents, {sku: found[sku] for sku in unsettled if sku in found})
    return ProductsRead(
        run_id=context.run_id,
        read_at=read_at,
        products=tuple(found[sku] for sku in skus if sku in found),
        unknown=tuple(sku for sku in skus if sku not in found),
        recognised=recognised,
    )


def _settle(context: Run, intents: GalleryIntents, found: Mapping[str, PlytixProduct]) -> None:
    """Record what the galleries hold whose outcome an earlier run did not learn.

    Those that were read, and no others: a product that Plytix does not have stays open until it is there again.
    """
    if not found:
        return
    known = ledger_of(context).known()
    rows = [
        row
        for product in found.values()
        for row in rows_of(product, list(keys_shown(product, known)), known, with_left=False)
    ]
    intents.settle(rows_frame(rows), list(found))


def recognise(
    api: PlytixApi, ledger: Ledger, found: Mapping[str, PlytixProduct], wanted_listings: Sequence[Listing]
) -> int:
    """Note every asset of these galleries that the ledger does not know; returns how many are pictures of ours.

    If any is, the ledger was lost: the images that a product shows and its listing wants were then put there by us,
    and the other pictures of the listings are looked for by their names before they are uploaded again. A name to which
    Plytix added a suffix is ours where the product's listing wants that very picture. Every asset is asked for once:
    then the ledger knows it.
    """
    known = ledger.known()
    shown = dict.fromkeys(asset_id for product in found.values() for asset_id in product.gallery)
    unknown = [asset_id for asset_id in shown if asset_id not in known.keys and asset_id not in known.foreign]
    if not unknown:
        return 0
    named = api.assets_by_id(unknown)
    wanted = {listing.sku: {image.key for image in listing.images} for listing in wanted_listings}
    expected: dict[str, set[str]] = {}
    for sku, product in found.items():
        for asset_id in product.gallery:
            expected.setdefault(asset_id, set()).update(wanted.get(sku, ()))
    by_key = dict(known.assets())
    ours: dict[str, str] = {}
    noted = []
    for asset_id in unknown:
        name = named[asset_id].filename if asset_id in named else ""
        key = _key_of(name, expected[asset_id])
        if key is not None and key not in by_key:
            by_key[key] = asset_id
            ours[asset_id] = key
        noted.append(NotedAsset(asset_id, ours.get(asset_id), name))
    ledger.note_assets(noted)
    if not ours:
        return 0
    ledger.adopt_links(
        (sku, ours[asset_id], asset_id)
        for sku, product in found.items()
        for asset_id in product.gallery
        if ours.get(asset_id) in wanted.get(sku, ())
    )
    missing = {file_name(key): key for keys in wanted.values() for key in sorted(keys) if key not in by_key}
    by_name = api.assets_by_filename(list(missing))
    ledger.note_assets([NotedAsset(asset.id, missing[name], name) for name, asset in by_name.items()])
    return len(ours) + len(by_name)


def check_images(context: Run) -> Mapping[str, CheckResult]:
    """One look at a sample of the pictures (PLYTIX_QUALITY_SAMPLE) answers all PICTURE_CHECKS.

    Which ones follows from the run; their contents are noted in the ledger. Raises HandOverMissingError.
    """
    chosen = context.look_at("images", ImagesChosen)
    settings = context.settings
    quality = look_at_pictures(
        chosen.listings,
        picture_fetcher(context.installation.settings),
        lambda key: picture_url(key, settings),
        sample=settings.quality_sample,
        seed=context.run_id,
        min_longest_side=settings.min_longest_side,
        workers=settings.workers,
    )
    ledger_of(context).note_contents(quality.contents)
    by_check = (quality.small, quality.undecodable, quality.not_white, quality.twins, quality.without_main)
    return {name: _checked(found, quality) for name, found in zip(PICTURE_CHECKS, by_check, strict=True)}


def check_products(context: Run) -> Mapping[str, CheckResult]:
    """Whether Plytix has a product for every listing, as it was last read. Raises HandOverMissingError."""
    read = context.look_at("products", ProductsRead)
    (name,) = PRODUCT_CHECK
    told = read.stopped or f"{len(read.unknown)} listings without a product in Plytix"
    return {name: CheckResult(not read.unknown and not read.stopped, told, {"products": Texts(read.unknown)})}


def _checked(found: Sequence[Finding], quality: Quality) -> CheckResult:
    table = pd.DataFrame(
        [(entry.sku, entry.key, entry.what) for entry in found], columns=["product", "picture", "what"]
    )
    return CheckResult(
        passed=not found,
        description=f"{len(found)} found; {quality.looked_at} pictures were looked at",
        shown={"found": Table(table), "number": len(found), "looked_at": quality.looked_at},
    )


def _put_aside(context: Run, set_aside: Sequence[SetAside]) -> None:
    """Put what cannot be used in quarantine, and take out what this source no longer has."""
    table = context.quarantine
    items = [
        QuarantineItem(f"{entry.where} {entry.url}".strip(), None, LISTING_STAGE, entry.reason, entry.url or None)
        for entry in set_aside
    ]
    table.put(items)
    bad = {item.key for item in items}
    table.drop([entry.id for entry in table.list() if entry.stage == LISTING_STAGE and entry.key not in bad])


def _key_of(name: str, expected: Collection[str]) -> str | None:
    """The picture that a file is by its name; expected: those that the listings of its products want."""
    key, renamed = key_of_file_name(name), key_of_renamed_file(name)
    return renamed if renamed in expected and key not in expected else key
