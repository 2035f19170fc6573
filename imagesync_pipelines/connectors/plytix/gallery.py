"""A product's gallery in Plytix: it holds our pictures and other people's; which are ours, and how both are merged."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from imagesync_pipelines.connectors.plytix.model import PlytixProduct
from imagesync_pipelines.languages import N_

# The fingerprints: what a product does with one of our pictures. People read them in the plan.
IN_GALLERY = "gallery"
IN_GALLERY_AND_THUMBNAIL = N_("gallery and thumbnail")
# Between SKU and canonical key; no key holds it.
SEPARATOR = "/"


@dataclass(frozen=True)
class Known:
    """What our ledger says of an account.

    keys: the canonical key of every asset that is one of our pictures, by asset id. foreign: assets that are none.
    links: the images that we put into galleries ourselves: pairs of SKU and key, with the asset that we put there.
    linked_at: when we did.
    """

    keys: Mapping[str, str]
    foreign: frozenset[str] = frozenset()
    links: Mapping[tuple[str, str], str] = field(default_factory=dict)
    linked_at: Mapping[tuple[str, str], datetime] = field(default_factory=dict)

    def assets(self) -> dict[str, str]:
        """The asset of every key."""
        return {key: asset_id for asset_id, key in self.keys.items()}

    @cached_property
    def linked(self) -> Mapping[tuple[str, str], str]:
        """What an asset stood for when we put it into a gallery, by SKU and asset; the key may have a newer one."""
        return {(sku, asset): key for (sku, key), asset in self.links.items()}


class Row(NamedTuple):
    """One of our pictures on a product, as the engine counts it; position is None where no order is wanted."""

    key: str
    group: str
    position: int | None
    fingerprint: str
    content: None = None


def row_key(sku: str, key: str) -> str:
    """The engine's key of a picture on a product."""
    return f"{sku}{SEPARATOR}{key}"


def order_of(gallery: Sequence[str]) -> str:
    """What tells a gallery's order, all of it, from another one."""
    return sha256("\n".join(gallery).encode()).hexdigest()[:16]


def picture_key(row: str) -> str:
    """The canonical key of the picture that a row is about."""
    return row.rpartition(SEPARATOR)[2]


def rows_of(
    product: PlytixProduct, wanted: Sequence[str], known: Known, *, with_left: bool, as_linked: bool = False
) -> list[Row]:
    """What a product shows of our pictures, in the order of its gallery.

    wanted: the keys of its listing, in order. The places of those that are there are dealt out in the order of the
    gallery, so that a picture is out of place only when it stands before one that it should follow; what other people
    put between them changes nothing. with_left: pictures that are not wanted are rows too, if we put them there,
    whatever asset they have by now.
    as_linked: what we put there is a row also when we uploaded it anew since, so that no upload of ours looks like a
    change of the gallery.
    """
    shown = keys_shown(product, known, as_linked=as_linked)
    places = {key: place for place, key in enumerate(wanted, 1)}
    free = iter(sorted(places[key] for key in shown if key in places))
    rows = []
    for key, asset_id in shown.items():
        if key in places or (with_left and (product.sku, key) in known.links):
            fingerprint = IN_GALLERY_AND_THUMBNAIL if product.thumbnail == asset_id else IN_GALLERY
            position = next(free) if key in places else None
            rows.append(Row(row_key(product.sku, key), product.sku, position, fingerprint))
    if with_left and not as_linked:
        with_older = keys_shown(product, known, as_linked=True).keys()
        left = [row_key(product.sku, key) for key in with_older if key not in places and key not in shown]
        rows += [Row(key, product.sku, None, IN_GALLERY) for key in left]
    return rows


def keys_shown(product: PlytixProduct, known: Known, *, as_linked: bool = False) -> dict[str, str]:
    """The keys of our pictures in a gallery, in its order, each with its asset; as_linked: as in rows_of."""
    older = known.linked if as_linked else {}
    keys = ((known.keys.get(asset) or older.get((product.sku, asset)), asset) for asset in product.gallery)
    return {key: asset for key, asset in keys if key is not None}


def merged(gallery: Sequence[str], ours: Sequence[str], leaving: Collection[str] = ()) -> list[str]:
    """The gallery with our assets in their order; everybody else's stay where they are.

    gallery: what is there, leaving: assets of ours to take out. The places that ours and the leaving ones have now are
    filled in order; more of ours than places follow the last of them, or the end where there is none.
    """
    mine = set(ours) | set(leaving)
    rest = list(ours)
    last = max((place for place, asset_id in enumerate(gallery) if asset_id in mine), default=len(gallery) - 1)
    result: list[str] = []
    for place, asset_id in enumerate(gallery):
        if asset_id not in mine:
            result.append(asset_id)
        elif rest:
            result.append(rest.pop(0))
        if place == last:
            result += rest
            rest = []
    return result + rest
