"""The catalogue in the language of whoever opens it: chosen at the foot, asked for by the browser, or set."""

import re

import pytest
import requests

from imagesync_pipelines.web.catalogue.pages import rendering
from imagesync_pipelines_tests.web.catalogue.world import Site


def language_of(answer: requests.Response) -> str:
    """The language that a page says it is in, in its header and in its markup."""
    found = re.search(r'<html lang="(\w+)">', answer.text)
    assert found is not None
    assert answer.headers["Content-Language"] == found[1]
    return found[1]


def test_a_page_is_in_the_language_that_the_browser_asks_for(site: Site) -> None:
    for accepted, language in (("", "en"), ("ru-RU,ru;q=0.9,en;q=0.8", "ru"), ("fr, de;q=0.5", "de"), ("fr", "en")):
        for path in ("/", "/nothing", "/?cursor=x"):
            answer = site.get(path, **{"Accept-Language": accepted})
            assert language_of(answer) == language
            assert {"Accept-Language", "Cookie"} <= set(answer.headers["Vary"].split(", "))


def test_a_language_is_chosen_at_the_foot_without_a_script_and_comes_before_what_the_browser_asks_for(
    site: Site,
) -> None:
    with requests.Session() as browser:
        browser.headers["Accept-Language"] = "de"
        page = browser.get(f"{site.address}/history?connector=edge").text
        back = re.search(r'name="back" value="([^"]+)"', page)
        assert back is not None
        sent = {"language": "id", "back": back[1]}
        answer = browser.post(f"{site.address}/language", sent, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/history?connector=edge")
        assert "HttpOnly" in answer.headers["Set-Cookie"]
        assert language_of(browser.get(f"{site.address}/")) == "id"


def test_the_menu_of_languages_leads_to_no_other_site_and_to_no_language_that_there_is_not(site: Site) -> None:
    for back in ("https://evil.example.com/", "//evil.example.com", "/\\evil.example.com"):
        answer = requests.post(
            f"{site.address}/language", {"language": "de", "back": back}, timeout=20, allow_redirects=False
        )
        assert answer.headers["Location"] == "/"
    wrong = requests.post(f"{site.address}/language", {"language": "tlh"}, timeout=20, allow_redirects=False)
    assert (wrong.status_code, "Set-Cookie" in wrong.headers) == (400, False)


def test_the_api_speaks_english_to_everybody(site: Site) -> None:
    answer = site.get("/api/v1/products/1", **{"Accept-Language": "de"})
    assert answer.json()["title"] == "Unauthorized"
    assert "Content-Language" not in answer.headers


def test_a_quotation_mark_of_a_translation_ends_no_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_", lambda text: {"Close": 'Mach "zu"'}.get(text, text))
    env = rendering.make_templates().env
    page = env.from_string("""<b title="{{ _('Close') }}">{{ _('%(a)s <i class="x">', a='<"') }}</b>""").render()
    assert page == '<b title="Mach &#34;zu&#34;">&lt;&#34; <i class="x"></b>'
