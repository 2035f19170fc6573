"""schemathesis against the service: what the OpenAPI document promises holds, for good and for bad requests."""

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode

from imagesync_pipelines_tests.web.head_office.serving import Client

EXAMPLES = 15


@pytest.fixture
def api_schema(client: Client) -> schemathesis.BaseSchema:
    """The service's own document, with requests generated to fit it and not to fit it."""
    found = schemathesis.openapi.from_url(f"{client.url}/openapi.json")
    found.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    return found


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
)
def test_the_service_keeps_its_openapi_document(case: schemathesis.Case, client: Client) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {client.access}"}, timeout=30)
