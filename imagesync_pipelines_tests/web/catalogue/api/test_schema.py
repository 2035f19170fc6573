"""schemathesis against the API: what the OpenAPI document promises holds, for good and for bad requests."""

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from imagesync_pipelines_tests.web.catalogue.api.calling import Caller
from imagesync_pipelines_tests.web.catalogue.world import World

pytestmark = pytest.mark.slow

OPERATIONS = [
    ("GET", "/products"),
    ("GET", "/products/{product_id}"),
    ("GET", "/products/{product_id}/images"),
    ("GET", "/skus/{sku}/images"),
    ("GET", "/products/{product_id}/history"),
    ("GET", "/products/{product_id}/primary"),
    ("PUT", "/products/{product_id}/primary"),
    ("DELETE", "/products/{product_id}/primary"),
    ("GET", "/images/{image_id}"),
    ("GET", "/lookup"),
    ("POST", "/lookup"),
    ("GET", "/changes"),
    ("GET", "/quality"),
    ("GET", "/quality/pictures"),
    ("GET", "/quality/trend"),
    ("GET", "/exports/{wanted}"),
]
FEW, MANY = 3, 80


@pytest.fixture
def schema(caller: Caller) -> schemathesis.BaseSchema:
    """The API's own document, which needs no key."""
    return schemathesis.openapi.from_url(f"{caller.address}/api/v1/openapi.json")


def test_every_operation_of_the_document_is_tried(schema: schemathesis.BaseSchema) -> None:
    found = {(one.ok().method.upper(), one.ok().path) for one in schema.get_all_operations()}
    assert set(OPERATIONS) == found


def test_the_document_has_examples_of_what_is_sent_and_answered(schema: schemathesis.BaseSchema) -> None:
    models = schema.raw_schema["components"]["schemas"]
    for name in (
        "Image",
        "ListedProduct",
        "Product",
        "ImageChange",
        "Lookup",
        "ChosenImage",
        "JudgedPicture",
        "Problem",
    ):
        shown = [field for field, about in models[name]["properties"].items() if "examples" in str(about)]
        assert shown or "examples" in models[name], name


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_the_api_keeps_its_openapi_document(
    schema: schemathesis.BaseSchema, world: World, caller: Caller, mode: GenerationMode
) -> None:
    for method, path in OPERATIONS:
        try_operation(schema, world, caller, mode, method, path, FEW)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(one) for one in OPERATIONS])
def test_the_api_keeps_its_openapi_document_at_length(
    schema: schemathesis.BaseSchema, world: World, caller: Caller, mode: GenerationMode, method: str, path: str
) -> None:
    try_operation(schema, world, caller, mode, method, path, MANY)


def try_operation(
    schema: schemathesis.BaseSchema,
    world: World,
    caller: Caller,
    mode: GenerationMode,
    method: str,
    path: str,
    examples: int,
) -> None:
    """Call one operation so often; in the good mode with a product and an image that are there."""
    product_id = world.product(f"{method}{path}"[:50], erp_id=f"{method}{path}{mode}"[-50:], left_erp_at="2026-01-01")
    there = {"product_id": product_id, "image_id": world.image(product_id)}

    # In an address everything is text: a number where a list of texts belongs looks like one text.
    excluded = [negative_data_rejection] if method == "GET" else []

    @hypothesis.given(case=schema[path][method].as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def run(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE:
            # A made-up id is always a 404; the promises about good answers need a real one.
            case.path_parameters.update({name: there[name] for name in case.path_parameters if name in there})
            # A made-up cursor is refused, and the document cannot say which text is one.
            case.query.pop("cursor", None)
            if method == "PUT":
                case.body["image_id"] = there["image_id"]
        headers = {"Authorization": f"Bearer {caller.key}"}
        case.call_and_validate(headers=headers, excluded_checks=excluded, timeout=30)

    run()
