"""Listings for tests, out of what the stand-in makes up."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from imagesync_pipelines.sandbox.amazon.listings import MAIN, AmazonListing, ListedImage, ListingMaker
from imagesync_pipelines.sandbox.amazon.pictures import AmazonPicture, Background, make_id


def in_marketplace(listings: Sequence[AmazonListing], marketplace: str) -> tuple[AmazonListing, ...]:
    """The same products in another marketplace: the same pictures, but MAIN and the first other have changed places."""
    moved = []
    for listing in listings:
        pictures = [image.picture for image in listing.images]
        pictures[:2] = reversed(pictures[:2])
        slots = [image.variant for image in listing.images]
        moved.append(replace(listing, marketplace=marketplace, images=tuple(map(ListedImage, slots, pictures))))
    return tuple(moved)


def poor_listings(seed: int = 1, marketplace: str = "US") -> Mapping[str, AmazonListing]:
    """One listing per thing that an image check is to find, by the name of it; `good` has none.

    `small_main` (longest side 400), `grey_main` (background not white), `no_main`, `undecodable` (PT01), `twins` (PT01
    and PT02 show the same in other bytes and another size).
    """
    maker = ListingMaker(Random(f"amazon/poor/{seed}"))

    def images(main: AmazonPicture | None = None, first: AmazonPicture | None = None) -> tuple[ListedImage, ...]:
        pictures = (main or maker.new_picture(1500), first or maker.new_picture(1000), maker.new_picture(1000))
        return tuple(map(ListedImage, (MAIN, "PT01", "PT02"), pictures))

    usual = images()
    twin = replace(usual[1].picture, id=make_id(maker.rng, 800), width=800, height=800, shade=4)
    sets = {
        "good": images(),
        "small_main": images(main=maker.new_picture(400)),
        "grey_main": images(main=replace(maker.new_picture(1500), background=Background.GREY)),
        "no_main": images()[1:],
        "undecodable": images(first=replace(maker.new_picture(1000), undecodable=True)),
        "twins": (*usual[:2], ListedImage("PT02", twin)),
    }
    return {name: maker.child(marketplace, "QLT9000", made) for name, made in sets.items()}
