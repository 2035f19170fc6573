"""Assets that our ledger does not know: recognised by the file names that we give, or noted as other people's.

What belongs here: which unknown assets are asked for, and what their names mean for the ledger. What does not: the
names themselves (rules.py), the tables (ledger.py). Every asset is asked for once: then the ledger knows it.
"""

from collections.abc import Collection, Mapping, Sequence

from imagesync_pipelines.connectors.plytix.api.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.ledger import Ledger, NotedAsset
from imagesync_pipelines.connectors.plytix.model import Listing, PlytixProduct
from imagesync_pipelines.connectors.plytix.rules import file_name, key_of_file_name, key_of_renamed_file


def recognise(
    api: PlytixApi, ledger: Ledger, products: Mapping[str, PlytixProduct], listings: Sequence[Listing]
) -> int:
    """Note every asset of these galleries that the ledger does not know; returns how many are pictures of ours.

    If any is, the ledger was lost: the images that a product shows and its listing wants were then put there by us,
    and the other pictures of the listings are looked for by their names before they are uploaded again. A name to which
    Plytix added a suffix is ours where the product's listing wants that very picture.
    """
    known = ledger.known()
    unknown = list(
        dict.fromkeys(
            asset_id
            for product in products.values()
            for asset_id in product.gallery
            if asset_id not in known.keys and asset_id not in known.foreign
        )
    )
    if not unknown:
        return 0
    found = api.assets_by_id(unknown)
    wanted = {listing.sku: {image.key for image in listing.images} for listing in listings}
    expected: dict[str, set[str]] = {}
    for sku, product in products.items():
        for asset_id in product.gallery:
            expected.setdefault(asset_id, set()).update(wanted.get(sku, ()))
    pictures = dict(known.assets())
    ours: dict[str, str] = {}
    noted = []
    for asset_id in unknown:
        name = found[asset_id].filename if asset_id in found else ""
        key = _key_of(name, expected[asset_id])
        if key is not None and key not in pictures:
            pictures[key] = asset_id
            ours[asset_id] = key
        noted.append(NotedAsset(asset_id, ours.get(asset_id), name))
    ledger.note_assets(noted)
    if not ours:
        return 0
    ledger.adopt_links(
        (sku, ours[asset_id], asset_id)
        for sku, product in products.items()
        for asset_id in product.gallery
        if ours.get(asset_id) in wanted.get(sku, ())
    )
    missing = {file_name(key): key for keys in wanted.values() for key in sorted(keys) if key not in pictures}
    by_name = api.assets_by_filename(list(missing))
    ledger.note_assets([NotedAsset(asset.id, missing[name], name) for name, asset in by_name.items()])
    return len(ours) + len(by_name)


def _key_of(name: str, expected: Collection[str]) -> str | None:
    """The picture that a file is by its name; expected: those that the listings of its products want."""
    key, renamed = key_of_file_name(name), key_of_renamed_file(name)
    return renamed if renamed in expected and key not in expected else key
