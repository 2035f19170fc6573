"""Logging in: who gets in, what a session is worth, how often a password may be tried."""

from dataclasses import replace

import pytest

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.schema_catalogue import wrong_login
from imagesync_pipelines.storage.wrong_logins import BY_PAIR, WrongLogins
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.admin.sessions import own_path
from imagesync_pipelines.web.catalogue.app import COOKIE
from imagesync_pipelines_tests.web.catalogue.admin.browsing import PASSWORD, Browser, forms_of, person
from imagesync_pipelines_tests.web.catalogue.world import NOW, Site, World, serving


def test_a_person_logs_in_and_comes_to_the_page_they_wanted(site: Site, world: World) -> None:
    person(world)
    browser = Browser(site)
    form = browser.get("/admin/unmatched?number=47")
    assert form.url.endswith("/login?next=%2Fadmin%2Funmatched%3Fnumber%3D47")
    fields = forms_of(form.text)["/login"]
    page = browser.post("/login", {**fields, "name": "anna", "password": PASSWORD})
    assert (page.status_code, page.url) == (200, f"{site.address}/admin/unmatched?number=47")
    assert "<strong>anna</strong>" in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_a_wrong_name_and_a_wrong_password_are_answered_alike(site: Site, world: World) -> None:
    person(world)
    browser = Browser(site)
    for name, password in (("anna", "wrong password"), ("nobody", PASSWORD), ("anna\0", PASSWORD)):
        answer = browser.log_in(name, password)
        assert answer.status_code == 401, name
        assert "Name or password is wrong." in answer.text
        assert password not in answer.text
    assert "Sign out" not in browser.get("/").text


def test_the_cookie_is_for_this_site_over_http_alone(site: Site, world: World) -> None:
    person(world)
    browser = Browser(site)
    fields = forms_of(browser.get("/login").text)["/login"]
    answer = browser.session.post(
        f"{site.address}/login",
        data={**fields, "name": "anna", "password": PASSWORD},
        allow_redirects=False,
        timeout=20,
    )
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    assert PASSWORD not in cookie


def test_in_production_the_cookie_is_for_encrypted_connections_only(world: World) -> None:
    with serving(replace(world.opened, shared=Settings(environment="production"))) as site:
        assert "secure" in site.get("/login").headers["Set-Cookie"].lower()


def test_logging_in_leaves_nothing_of_the_session_before(site: Site, world: World) -> None:
    """Session fixation: a cookie that somebody prepared, with a token that they know, is worth nothing afterwards."""
    person(world)
    browser = Browser(site)
    prepared = forms_of(browser.get("/login").text)["/login"]["csrf"]
    before = browser.session.cookies[COOKIE]
    browser.log_in("anna")
    assert browser.csrf() != prepared
    assert browser.post("/logout", {"csrf": prepared}).status_code == 403
    stranger = Browser(site)
    stranger.session.cookies.set(COOKIE, before)
    assert "Sign out" not in stranger.get("/").text


def test_logging_out_ends_the_session_in_every_browser(site: Site, world: World, admin: Browser) -> None:
    copied = Browser(site)
    copied.session.cookies.set(COOKIE, admin.session.cookies[COOKIE])
    assert "Sign out" in copied.get("/").text
    admin.send_form("/", "/logout")
    for browser in (admin, copied):
        assert "Sign out" not in browser.get("/").text
        assert "/login?" in browser.get("/admin/quarantine").url


def test_a_disabled_person_is_out_at_the_next_request(site: Site, world: World, admin: Browser) -> None:
    csrf = admin.csrf()
    access.disable_user(world.engine, "anna")
    assert "/login?" in admin.get("/admin/quarantine").url
    assert admin.post("/admin/start", {"csrf": csrf, "what": "image_db"}).status_code == 401


def test_a_forged_cookie_is_nobody(site: Site, world: World) -> None:
    person(world)
    for cookie in ("", "x", "e30=", "eyJ1c2VyIjoxLCJlcG9jaCI6MH0=.aaaa.bbbb"):
        browser = Browser(site)
        browser.session.cookies.set(COOKIE, cookie)
        assert "/login?" in browser.get("/admin/quarantine").url, cookie


def test_an_open_page_that_polls_is_sent_to_the_login(site: Site) -> None:
    answer = site.get("/admin/quarantine", **{"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/login")


def test_tries_are_limited_and_told_when_to_come_back(site: Site, world: World) -> None:
    """Brute force: after ten wrong passwords from one address the right one does not help there either."""
    person(world)
    person(world, "bert")
    browser = Browser(site)
    for _ in range(BY_PAIR.at_once):
        assert browser.log_in("anna", "wrong password").status_code == 401
    refused = browser.log_in("anna")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= BY_PAIR.seconds
    assert "Too many tries" in refused.text
    assert "Sign out" not in browser.get("/").text
    assert Browser(site).log_in("bert").status_code == 200


def test_strangers_who_try_a_name_lock_nobody_out_who_has_its_password(site: Site, world: World) -> None:
    person(world)
    tries = WrongLogins(world.engine, wrong_login)
    for _ in range(3 * BY_PAIR.at_once):
        tries.note_wrong("anna", "192.0.2.1", NOW)
    assert "Sign out" in Browser(site).log_in("anna").text


@pytest.mark.parametrize(
    ("asked", "path"),
    [("/products/7?image=3", "/products/7?image=3"), ("", "/"), ("https://evil.example/", "/"),
     ("//evil.example/", "/"), ("/\\evil.example/", "/"), ("/\t/evil.example/", "/"),
     ("javascript:alert(1)", "/"), ("/a\r\nSet-Cookie: x=1", "/"), ("products", "/")],
)  # fmt: skip
def test_after_logging_in_nobody_is_sent_elsewhere(asked: str, path: str) -> None:
    assert own_path(asked) == path


def test_pictures_and_the_api_carry_no_cookie(world: World, admin: Browser) -> None:
    """They may be kept by what is between; a session must never be."""
    image = world.image(world.product("100"), image_url="http://192.0.2.1/none.jpg")
    for path in ("/static/admin.css", f"/media/{image}/thumb", "/api/v1/openapi.json"):
        assert "Set-Cookie" not in admin.get(path).headers


def test_no_page_may_be_kept_by_a_cache_that_people_share(site: Site, world: World, admin: Browser) -> None:
    engel = world.product("100")
    for path in ("/", f"/products/{engel}", "/history", "/plans", "/plans/9", "/admin/quarantine", "/login"):
        caching = admin.get(path).headers["Cache-Control"]
        assert "private" in caching or "no-store" in caching, path
