"""The login at a certified provider, as people go through it: in, out, disabled, in other groups, signed out there."""

import pytest
import requests
import sqlalchemy as sa

from imagesync_pipelines.storage.schema_catalogue import oidc_session, web_user
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import UserRole
from imagesync_pipelines_tests.web.catalogue.admin.browsing import Browser, forms_of, person
from imagesync_pipelines_tests.web.catalogue.oidc.conftest import House
from imagesync_pipelines_tests.web.catalogue.oidc.providing import RealProvider
from imagesync_pipelines_tests.web.catalogue.world import World

ADMIN = {"preferred_username": "Anna Ödegård", "groups": ["shop-admins", "else"], "email": "bert@example.com"}


def signed_in(real: House, provider: RealProvider, subject: str = "a1") -> Browser:
    browser = Browser(real.site)
    provider.sign_in(browser, subject)
    return browser


def test_a_person_comes_in_and_out_and_is_who_they_are_there(real: House, provider: RealProvider, world: World) -> None:
    provider.person("a1", **ADMIN)
    # Somebody of ours whose name is that e-mail address: no business of the provider's.
    person(world, "bert@example.com", UserRole.VIEWER)
    browser = Browser(real.site)
    page = provider.sign_in(browser, "a1", "/login/oidc?next=/admin/users")
    assert (page.status_code, page.url) == (200, f"{real.site.address}/admin/users")
    assert "<strong>Anna.Ödegård</strong>" in page.text
    known = {one.name: one for one in access.list_users(world.engine)}
    assert set(known) == {"Anna.Ödegård", "bert@example.com"}
    assert (known["Anna.Ödegård"].role, known["Anna.Ödegård"].issuer) == (UserRole.ADMIN, provider.issuer)
    out = browser.send_form("/", "/logout")
    assert out.headers["Refresh"].startswith(f"0;url={provider.issuer}/session/end?")
    assert "Sign out" not in browser.get("/").text
    with world.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(oidc_session)) == 0
    # The provider's own session ends on its own page.
    theirs = browser.session.get(out.headers["Refresh"].partition("url=")[2], timeout=20)
    [(action, fields)] = forms_of(theirs.text).items()
    assert browser.session.post(action, data={**fields, "logout": "yes"}, timeout=20).url.startswith(real.site.address)
    assert "/interaction/" in browser.get("/login/oidc").url


def test_who_has_no_group_of_ours_is_told_so_and_is_nobody_here(
    real: House, provider: RealProvider, world: World
) -> None:
    provider.person("c1", preferred_username="cleo", groups=["else"])
    browser = Browser(real.site)
    page = provider.sign_in(browser, "c1")
    assert page.status_code == 403
    assert "Our company knows you as cleo, but in none of the groups that may come in here." in page.text
    assert access.list_users(world.engine) == []


def test_a_role_is_taken_anew_and_who_was_disabled_there_is_out_within_minutes(
    real: House, provider: RealProvider
) -> None:
    provider.person("a1", **ADMIN)
    browser = signed_in(real, provider)
    assert browser.get("/admin/users").status_code == 200
    provider.person("a1", **{**ADMIN, "groups": ["staff"]})
    assert browser.get("/admin/users").status_code == 200
    real.clock.later(6)
    assert browser.get("/admin/users").status_code == 403
    # The refresh token was changed for a new one, which is kept.
    real.clock.later(6)
    assert browser.get("/admin/quarantine").status_code == 200
    provider.person("a1")
    assert browser.get("/admin/quarantine").status_code == 200
    real.clock.later(9.9)
    assert "Sign out" not in browser.get("/").text
    assert browser.get("/admin/quarantine").url.startswith(provider.issuer)


def test_whoever_signs_out_there_is_out_here_at_once(real: House, provider: RealProvider) -> None:
    provider.person("a1", **ADMIN)
    browser, other = signed_in(real, provider), signed_in(real, provider)
    theirs = browser.session.get(f"{provider.issuer}/session/end", timeout=20)
    [(action, fields)] = forms_of(theirs.text).items()
    browser.session.post(action, data={**fields, "logout": "yes"}, timeout=20)
    assert "Sign out" not in browser.get("/").text
    assert "Sign out" in other.get("/").text


def test_a_code_and_a_state_are_good_once_and_in_the_browser_that_asked(real: House, provider: RealProvider) -> None:
    provider.person("a1", **ADMIN)
    browser, answers = Browser(real.site), []

    def seen(answer: requests.Response, **_: object) -> None:
        if "/login/oidc/callback?" in answer.url:
            answers.append((answer.url, dict(answer.request.headers)["Cookie"]))

    browser.session.hooks["response"].append(seen)
    provider.sign_in(browser, "a1")
    [(url, cookie)] = answers
    for stranger in (browser, Browser(real.site)):
        again = stranger.session.get(url, timeout=20)
        assert (again.status_code, "used up" in again.text) == (400, True)
    # With the cookie of that moment the state is known; the code is used up.
    replayed = requests.get(url, headers={"Cookie": cookie}, timeout=20)
    assert replayed.status_code == 403
    assert "did not confirm this sign-in" in replayed.text


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "/%0d%0a/evil"])
def test_after_the_login_nobody_is_sent_elsewhere(wanted: str, real: House, provider: RealProvider) -> None:
    provider.person("a1", **ADMIN)
    page = provider.sign_in(Browser(real.site), "a1", f"/login/oidc?next={wanted}")
    assert page.url.startswith(f"{real.site.address}/")
    assert page.status_code in {200, 404}


def test_a_disabled_person_stays_out_until_let_in_again(real: House, provider: RealProvider, world: World) -> None:
    provider.person("a1", **ADMIN)
    browser = signed_in(real, provider)
    [anna] = access.list_users(world.engine)
    access.disable_by_id(world.engine, anna.id)
    assert "Sign out" not in browser.get("/").text
    page = provider.sign_in(Browser(real.site), "a1")
    assert (page.status_code, "Anna.Ödegård may not sign in here any more" in page.text) == (403, True)
    for refused in (access.give_password, lambda engine, one: access.set_role(engine, one, UserRole.VIEWER)):
        with pytest.raises(access.AccessRefusedError, match="signs in at the identity provider"):
            refused(world.engine, anna.id)
    with pytest.raises(access.AccessRefusedError, match="signs in at the identity provider"):
        access.set_user(world.engine, anna.name, UserRole.ADMIN, "a long password")
    assert access.log_in(world.engine, anna.name, "a long password") is None
    access.enable_by_id(world.engine, anna.id)
    assert provider.sign_in(Browser(real.site), "a1").status_code == 200
    with world.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(web_user)) == 1
