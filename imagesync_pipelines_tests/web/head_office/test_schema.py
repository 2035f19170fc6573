"""schemathesis against the service: what the OpenAPI document promises holds, for good and for bad requests."""

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode

from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import Client, Shop

pytestmark = pytest.mark.slow

OPERATIONS = [
    ("POST", "/api/v1/token/"),
    ("POST", "/api/v1/token/refresh/"),
    ("GET", "/api/v1/sync/product-photos/"),
    ("POST", "/api/v1/sync/product-photos/"),
    ("GET", "/api/v1/sync/product-photos/{photo_id}/download/"),
    ("POST", "/api/v1/sync/product-photos/status/"),
    ("GET", "/api/v1/sync/health/"),
]
EXAMPLES = 100
# The last one takes no input that could be bad.
TRIED = [(GenerationMode.POSITIVE, *one) for one in OPERATIONS]
TRIED += [(GenerationMode.NEGATIVE, *one) for one in OPERATIONS[:-1]]


@pytest.fixture
def schema(client: Client) -> schemathesis.BaseSchema:
    """The service's own document."""
    return schemathesis.openapi.from_url(f"{client.url}/openapi.json")


def test_every_operation_of_the_document_is_tried(schema: schemathesis.BaseSchema) -> None:
    found = {(one.ok().method.upper(), one.ok().path) for one in schema.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize(("mode", "method", "path"), TRIED, ids=[" ".join(one) for one in TRIED])
def test_the_service_keeps_its_openapi_document(
    schema: schemathesis.BaseSchema,
    client: Client,
    office: HeadOffice,
    shop: Shop,
    mode: GenerationMode,
    method: str,
    path: str,
) -> None:
    photo_id = operators.put_photo(office, shop.product, b"picture", filename="a.jpg")

    @hypothesis.given(case=schema[path][method].as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def run(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE:
            # A made-up store is always a 404; the promises about good answers need the real one.
            case.query.update({"store_id": str(client.store)} if "store_id" in case.query else {})
            case.path_parameters.update({"photo_id": str(photo_id)} if "photo_id" in case.path_parameters else {})
            if path.endswith("/status/"):
                case.body["store_id"] = str(client.store)
            if path.endswith("/product-photos/") and method == "POST":
                case.body |= {"company_id": str(shop.company), "store_id": str(client.store)}
        case.call_and_validate(headers={"Authorization": f"Bearer {client.access}"}, timeout=30)

    run()
