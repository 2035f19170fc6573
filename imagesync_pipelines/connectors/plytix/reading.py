"""The steps before the plan: Amazon's listings, their pictures, Plytix's products."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import wraps
from typing import Any

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.plytix import model, rules
from imagesync_pipelines.connectors.plytix.client.amazon import CatalogueApi
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.connectors.plytix.gallery import keys_shown, order_of, row_key, rows_of
from imagesync_pipelines.connectors.plytix.ledger import Ledger, NotedAsset, Run, identity_of, ledger_of
from imagesync_pipelines.connectors.plytix.settings import ListingsOptions, plytix_accounts
from imagesync_pipelines.connectors.plytix.sources import as_amazon_has_them, named_products, only, read_sources
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.frames import row_frame
from imagesync_pipelines.sync.planned import restored_note
from imagesync_pipelines.sync.steps import StepResult, Table, Texts

LISTING_STAGE = languages.told("listing")


def with_pim(step: Callable[[Run, Any, PlytixApi], StepResult]) -> Callable[[Run, Any], StepResult]:
    """A step that works in the account's Plytix, as the declaration names it. It raises AccountsError too."""

    @wraps(step)
    def run(context: Run, options: Any) -> StepResult:
        account = plytix_accounts(load_accounts(context.installation.settings)).named(context.account)
        with closing(PlytixApi(account, context.settings, context.installation.engine)) as api:
            return step(context, options, api)

    return run


def listings(context: Run, options: ListingsOptions) -> StepResult:
    """Amazon's products and their images, from a mapping file or from Amazon's catalogue as it is now.

    Entries that cannot be used are set aside with their reasons; a file that is no mapping file stops the run.
    marketplace: by country or by Amazon's id; '' is all. skus: these products only; with `live` and without a file they
    need to be in none.

    Raises SettingsError, MappingError, and the errors of the catalogue.
    """
    country = rules.known_marketplace(options.marketplace)
    if options.marketplace and country is None:
        raise SettingsError(
            f"There is no marketplace {options.marketplace!r}; name its country, such as US, or Amazon's id."
        )
    if options.live and options.skus and not options.mapping:
        read = named_products(options.skus)
    else:
        read = read_sources(options.mapping, context.settings.mapping_folder, context.installation.settings)
        read = only(read, options.skus) if options.skus else read
    calls = 0
    if options.live:
        with closing(CatalogueApi(context.settings, context.installation.engine)) as amazon:
            read = as_amazon_has_them(read, amazon.items, country or "")
            calls = amazon.calls
    warnings = [*read.warnings, *_set_aside_warning(languages.told("entries or images"), read.set_aside)]
    if read.missing:
        warnings.append(
            languages.told(f"Amazon's catalogue lacks {len(read.missing)} products, such as {read.missing[0]}.")
        )
    read = read.model_copy(update={"marketplace": country or "", "warnings": tuple(warnings)})
    context.keep("listings", read)
    return StepResult(
        rows=len(read.items),
        numbers={"listings/entries": read.entries, "listings/set_aside": len(read.set_aside)},
        shown={
            "source": read.source,
            "shape": read.shape,
            "marketplace": read.marketplace or "all",
            "catalogue_calls": calls,
            "set_aside": Table(pd.DataFrame(list(read.set_aside), columns=["where", "reason", "url"])),
            "missing_at_amazon": Texts(read.missing),
            "warnings": Texts(warnings),
        },
        lines=[
            languages.told(f"{context.account}: {len(read.items)} products in {read.source} (shape: {read.shape}).")
        ],
        warnings=warnings,
    )


def images(context: Run, _: NoOptions) -> StepResult:
    """One picture per marketplace and variant, the largest, in Amazon's order; MAIN is to be the thumbnail.

    The same picture has one key, whatever host, size and spelling its addresses have. What cannot be used goes to
    quarantine.

    Raises HandOverMissingError.
    """
    read = context.need("listings", model.ListingsRead)
    found, bad = rules.choose_listings(read.items, [read.marketplace] if read.marketplace else [])
    warnings = [*read.warnings, *_set_aside_warning("images", bad)]
    if read.marketplace and not found:
        warnings.append(languages.told(f"There is no listing of the marketplace {read.marketplace}."))
    set_aside = (*read.set_aside, *bad)
    _put_aside(context, read, set_aside)
    context.keep(
        "images", model.ImagesChosen(source=read.source, listings=found, set_aside=set_aside, warnings=tuple(warnings))
    )
    numbers = {
        "images/refs": sum(listing.slots for listing in found),
        "images/unique": len({image.key for listing in found for image in listing.images}),
        "products/with_images": sum(bool(listing.images) for listing in found),
        "products/without_main": sum(bool(listing.images) and listing.main is None for listing in found),
        "products/parents": sum(listing.is_parent for listing in found),
    }
    rows = [
        (listing.sku, len(listing.images), " ".join(image.variant or "?" for image in listing.images))
        for listing in found
    ]
    return StepResult(
        rows=sum(images for _, images, _ in rows),
        numbers=numbers,
        shown={
            "listings": Table(pd.DataFrame(rows, columns=["product", "images", "variants"])),
            "set_aside": Table(pd.DataFrame(list(set_aside), columns=["where", "reason", "url"])),
        },
        lines=[
            languages.told(
                f"{context.account}: {numbers['images/refs']} images of {numbers['images/unique']} pictures on "
                f"{numbers['products/with_images']} of {len(found)} listings."
            )
        ],
        warnings=warnings,
    )


def products(context: Run, _: NoOptions, api: PlytixApi) -> StepResult:
    """The products in Plytix: id, thumbnail and gallery, up to 100 of them a call; only the very SKU counts.

    What a run that was killed left open is settled here; assets that our ledger does not know are recognised by their
    file names. When the account's calls are used up, nothing counts as read, and the next run goes on.

    Raises HandOverMissingError, AccountBusyError when another run works on the account, IdentityRefusedError, and the
    errors of Plytix.
    """
    chosen = context.need("images", model.ImagesChosen)
    ledger, identity, calls = ledger_of(context), identity_of(context, api.account), api.calls
    skus = [listing.sku for listing in chosen.listings]
    with context.lock():
        restored_at = restored_note(context)[0]
        unsettled = [intent.group for intent in ledger.open_intents()]
        try:
            # What is to be settled is asked for in the same call.
            found = api.search_products([*skus, *unsettled])
            identity.look(api.told())
            context.check_locks()
            read = model.ProductsRead(
                run_id=context.run_id,
                read_at=context.clock(),
                products=tuple(found[sku] for sku in skus if sku in found),
                unknown=tuple(sku for sku in skus if sku not in found),
                recognised=recognise(api, ledger, found, chosen.listings, anew=bool(restored_at)),
            )
            settle(ledger, [found[sku] for sku in unsettled if sku in found])
        except HourSpentError as error:
            read = model.ProductsRead(
                run_id=context.run_id, read_at=context.clock(), stopped=str(error), goes_on_at=api.limiter.free_at
            )
    read = read.model_copy(update={"calls": api.calls - calls, "told": () if read.stopped else tuple(api.told())})
    context.keep("products", read)
    again = languages.told(f"; {read.recognised} assets were recognised by their names") if read.recognised else ""
    told = languages.told(
        f"{len(read.products)} products read from Plytix, {len(read.unknown)} it does not have{again}."
    )
    return StepResult(
        rows=len(read.products),
        numbers={"products/unknown": len(read.unknown), "api/calls": read.calls},
        shown={
            "unknown_products": Texts(read.unknown),
            "recognised_assets": read.recognised,
            "stopped": read.stopped or "-",
        },
        lines=[
            f"{context.account}: "
            + (languages.told(f"no product was read from Plytix: {read.stopped}") if read.stopped else told)
        ],
    )


def settle_open(context: Run, api: PlytixApi, ledger: Ledger) -> None:
    """Read the products that a run which broke off was writing, so that its plan goes on.

    Raises IdentityRefusedError, and the errors of Plytix.
    """
    unsettled = [intent.group for intent in ledger.open_intents()]
    found = api.search_products(unsettled) if unsettled else {}
    if found:
        identity_of(context, api.account).look(api.told())
        settle(ledger, [found[sku] for sku in unsettled if sku in found])


def settle(ledger: Ledger, found: Sequence[model.PlytixProduct]) -> None:
    """Record what the galleries hold whose outcome an earlier run did not learn.

    Those that were read, and no others: a product that Plytix does not have stays open until it is there again. A
    picture that was uploaded anew is no addition while its older asset is shown, and no removal either.
    """
    if found:
        known = ledger.known()
        rows = [
            row
            for product in found
            for row in rows_of(product, list(keys_shown(product, known)), known, with_left=False)
        ]
        shown = {row_key(one.sku, key) for one in found for key in keys_shown(one, known, as_linked=True)}
        orders = {product.sku: order_of(product.gallery) for product in found}
        ledger.settle(row_frame(rows), list(orders), shown, orders)


def recognise(
    api: PlytixApi,
    ledger: Ledger,
    found: Mapping[str, model.PlytixProduct],
    listings: Sequence[model.Listing],
    *,
    anew: bool = False,
) -> int:
    """Note every asset of these galleries that the ledger does not know; returns how many are pictures of ours.

    If any is, the ledger was lost: the images that a product shows and its listing wants were then put there by us,
    and the other pictures of the listings are looked for by their names before they are uploaded again. A name to which
    Plytix added a suffix is ours where the product's listing wants that very picture. Every asset is asked for once:
    then the ledger knows it. anew: the ledger is that of a backup; every asset is asked for, and all pictures of ours
    that a product shows were put there by us, whether its listing still wants them or not.
    """
    known = ledger.known()
    wanted = {listing.sku: {image.key for image in listing.images} for listing in listings}
    expected: dict[str, set[str]] = {}
    for sku, product in found.items():
        for asset_id in product.gallery:
            if anew or (asset_id not in known.keys and asset_id not in known.foreign):
                expected.setdefault(asset_id, set()).update(wanted.get(sku, ()))
    if not expected:
        return 0
    named = api.assets_by_id(list(expected))
    by_key = {} if anew else known.assets()
    ours: dict[str, str] = {}
    also: dict[str, str] = {}
    noted = []
    for asset_id, keys in expected.items():
        name = named[asset_id].filename if asset_id in named else ""
        key, renamed = rules.key_of_file_name(name), rules.key_of_renamed_file(name)
        if renamed in keys and key not in keys:
            key = renamed
        if anew:
            key = known.keys.get(asset_id) or key
        if key is not None and key not in by_key:
            by_key[key] = asset_id
            ours[asset_id] = key
        elif key is not None and anew:
            also[asset_id] = key
        url = named[asset_id].url if asset_id in named else ""
        noted.append(NotedAsset(asset_id, ours.get(asset_id), name, url))
    ledger.note_assets(noted)
    if not ours:
        return 0
    links = {
        (sku, shown[asset_id]): asset_id
        # Of two assets of one picture the one that is the picture's counts.
        for shown in (also, ours)
        for sku, product in found.items()
        for asset_id in product.gallery
        if asset_id in shown and (anew or shown[asset_id] in wanted.get(sku, ()))
    }
    ledger.adopt_links((sku, key, asset_id) for (sku, key), asset_id in links.items())
    by_key |= {key: asset_id for key, asset_id in known.assets().items() if key not in by_key}
    missing = {rules.file_name(key): key for keys in wanted.values() for key in sorted(keys) if key not in by_key}
    by_name = api.assets_by_filename(list(missing))
    ledger.note_assets([NotedAsset(asset.id, missing[name], name, asset.url) for name, asset in by_name.items()])
    return len(ours) + len(by_name)


def _put_aside(context: Run, read: model.ListingsRead, set_aside: Sequence[model.SetAside]) -> None:
    """Put what cannot be used in quarantine, and take out what this reading shows to be well or gone.

    What another mapping file has there stays: of products that this one does not name it says nothing, unless it is all
    files of the folder.
    """
    table = context.quarantine
    items = [
        QuarantineItem(f"{entry.where} {entry.url}".strip(), None, LISTING_STAGE, entry.reason, entry.url or None)
        for entry in set_aside
    ]
    table.put(items)
    bad = {item.key for item in items}
    named = {item.sku for item in read.items if read.marketplace in ("", item.marketplace)}
    everything = read.whole and not read.marketplace

    def is_judged(key: str) -> bool:
        if key.startswith(rules.SKU_PREFIX):
            return everything or key.partition(" ")[0] in named
        # Releases before this one did not name the file of an entry without a product.
        return everything or ": " not in key or key.startswith(tuple(f"{file}: " for file in read.files))

    waiting = [entry for entry in table.list() if entry.stage == LISTING_STAGE and entry.key not in bad]
    table.drop([entry.id for entry in waiting if is_judged(entry.key)])


def _set_aside_warning(what: str, set_aside: Sequence[model.SetAside]) -> list[str]:
    return [
        languages.told(f"{len(set_aside)} {what} cannot be used; {one.where}: {one.reason}.") for one in set_aside[:1]
    ]
