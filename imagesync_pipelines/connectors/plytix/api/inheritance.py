"""Galleries that flow from parents to variants in Plytix: what of a reading is a product's own (contract section 9).

What belongs here: telling an own gallery from an inherited one. What does not: reading products (pim.py). Only for
accounts where galleries are inherited: elsewhere nothing is overwritten, so no gallery would count as a product's own.
"""

from collections.abc import Callable, Mapping
from typing import Any

from imagesync_pipelines.connectors.plytix.model import PlytixProduct


def own_galleries(
    products: Mapping[str, PlytixProduct], gallery: str, details: Callable[[str], Mapping[str, Any]]
) -> dict[str, PlytixProduct]:
    """Products (by SKU) with their own galleries only: one that a variant shows because its parent has it is empty.

    details: the whole product by its id, {} when it is gone; asked for variants that show what their parents show, and
    for those whose parents were not read.
    """
    by_id = {product.id: product for product in products.values()}

    def is_inherited(product: PlytixProduct) -> bool:
        if product.parent_id is None or not product.gallery:
            return False
        parent = by_id.get(product.parent_id)
        if parent is not None and parent.gallery != product.gallery:
            return False
        own = details(product.id).get("overwritten_attributes")
        return isinstance(own, list) and not {gallery, f"attributes.{gallery}"} & set(map(str, own))

    return {
        sku: product._replace(gallery=()) if is_inherited(product) else product for sku, product in products.items()
    }
