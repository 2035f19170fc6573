"""What every answer of the head office carries, and its pages of documentation."""

import re

import pytest
import requests

from imagesync_pipelines_tests.web.head_office.serving import PHOTOS, Client

SECONDS = 20


@pytest.mark.parametrize("path", ["/openapi.json", PHOTOS, "/nothing", "/api/v1/sync/health/", "/docs/x"])
def test_no_answer_is_a_page_or_kept(client: Client, path: str) -> None:
    headers = client.get(path, store_id=client.store).headers
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_pages_of_documentation_name_nothing_but_our_own_files(service: Client, path: str) -> None:
    page = requests.get(service.url + path, timeout=SECONDS)
    assert page.status_code == 200
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert "<script>" not in page.text
    named = re.findall(r'(?:src|href|spec-url)="([^"]+)"', page.text)
    for one in named:
        assert ":" not in one.removeprefix("data:"), one
        if not one.startswith("data:"):
            answer = requests.get(f"{service.url}/{one}", timeout=SECONDS)
            assert answer.status_code == 200, one
            if "ETag" in answer.headers:
                known = {"If-None-Match": answer.headers["ETag"]}
                for method in ("GET", "HEAD"):
                    again = requests.request(method, f"{service.url}/{one}", headers=known, timeout=SECONDS)
                    assert (again.status_code, again.content) == (304, b"")
