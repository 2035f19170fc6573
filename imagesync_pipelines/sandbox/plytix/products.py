"""The products of the PIM: create, read, patch, delete, variants (contract sections 7 and 9).

What belongs here: the endpoints below /products that write or read one product. What does not: the search
(searches.py), single links (links.py).
"""

from typing import Any

from imagesync_pipelines.sandbox.plytix.answers import Answer, Refused, created, found, product_error, schema_error
from imagesync_pipelines.sandbox.plytix.changing import changed
from imagesync_pipelines.sandbox.plytix.model import Account, Product
from imagesync_pipelines.sandbox.plytix.pim import Ask, Pim, asked_product
from imagesync_pipelines.sandbox.plytix.rendering import V2, audit_json, product_json


def get(pim: Pim, ask: Ask) -> Answer:
    """GET /products/{id}; `all_attributes=true` shows the empty ones too."""
    with pim.account.lock:
        product = asked_product(pim, ask)
        everything = ask.query.get("all_attributes") == "true"
        return found([product_json(pim.account, pim.host, product, ask.version, all_attributes=everything)])


def create(pim: Pim, ask: Ask) -> Answer:
    """POST /products: only the SKU is mandatory; what is unknown is ignored."""
    return _create(pim, ask.fields(), ask.version, parent_id=None)


def patch(pim: Pim, ask: Ask) -> Answer:
    """PATCH /products/{id}: what is given is replaced, null clears, the rest stays; all of it or nothing."""
    with pim.account.lock:
        product = asked_product(pim, ask)
        body = ask.fields()
        if body.get("sku", product.sku) != product.sku:
            _judge_sku(pim.account, body["sku"])
        after = changed(pim.account, product, body)
        pim.account.keep_product(after)
        return found([_written(pim, after, ask.version)])


def delete(pim: Pim, ask: Ask) -> Answer:
    """DELETE /products/{id}: the product goes, and its variants with it."""
    with pim.account.lock:
        pim.account.remove_product(asked_product(pim, ask))
    return Answer(204)


def variants(pim: Pim, ask: Ask) -> Answer:
    """GET /products/{id}/variants."""
    with pim.account.lock:
        rows = pim.account.variants(asked_product(pim, ask))
        return found([product_json(pim.account, pim.host, one, ask.version) for one in rows])


def create_variant(pim: Pim, ask: Ask) -> Answer:
    """POST /products/{id}/variants: `{"variant": {"sku": …}}` on v1, the flat body on v2."""
    body = ask.fields() if ask.version == V2 else ask.fields().get("variant")
    if not isinstance(body, dict):
        raise schema_error(("variant", "Missing data for required field."))
    with pim.account.lock:
        parent = asked_product(pim, ask)
        return _create(pim, body, ask.version, parent_id=parent.id)


def _create(pim: Pim, body: dict[str, Any], version: int, parent_id: str | None) -> Answer:
    with pim.account.lock:
        sku = body.get("sku")
        _judge_sku(pim.account, sku)
        product = changed(pim.account, pim.account.new_product(str(sku), parent_id), body)
        pim.account.keep_product(product)
        return created(_written(pim, product, version), f"{pim.host}/api/v1/products/{product.id}")


def _written(pim: Pim, product: Product, version: int) -> dict[str, Any]:
    """v1 gives the whole product back, v2 the id and who wrote when."""
    return audit_json(product) if version == V2 else product_json(pim.account, pim.host, product, version)


def _judge_sku(account: Account, sku: object) -> None:
    """Raise the error for a SKU that is no text or that another product has."""
    if not isinstance(sku, str) or not sku:
        raise product_error(("sku", "Missing data for required field."))
    if account.by_sku(sku) is not None:
        taken = (("sku", "A product with the same SKU already exists"),)
        raise Refused(409, "product data validation failed", taken)
