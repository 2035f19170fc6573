"""What settings may say, what people are called and may do, and what a login does where the provider says little."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.responses import JSONResponse, Response

from imagesync_pipelines.sandbox.server import bind
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.schema_catalogue import oidc_session
from imagesync_pipelines.sync.health import Site, State, examine
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import UserRole
from imagesync_pipelines.web.catalogue.admin.sessions import own_path
from imagesync_pipelines.web.catalogue.oidc import doctor, people
from imagesync_pipelines.web.catalogue.oidc.doctor import PART
from imagesync_pipelines.web.catalogue.oidc.people import name_from
from imagesync_pipelines.web.catalogue.oidc.settings import OidcSettings
from imagesync_pipelines_tests.web.catalogue.admin.browsing import PASSWORD, Browser, forms_of, person
from imagesync_pipelines_tests.web.catalogue.oidc.conftest import House, house
from imagesync_pipelines_tests.web.catalogue.oidc.providing import LyingProvider, RealProvider, settings_for
from imagesync_pipelines_tests.web.catalogue.world import NOW, World

GOOD = {
    "OIDC_ISSUER": "https://login.example.com", "OIDC_CLIENT_ID": "catalogue", "OIDC_ROLES": "staff=viewer",
    "OIDC_REDIRECT_URL": "https://images.example.com/login/oidc/callback",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"OIDC_ROLES": ""}, "OIDC_ROLES"),
        ({"OIDC_ROLES": "staff=boss"}, "shop-admins=admin"),
        ({"OIDC_ROLES": "staff"}, "shop-admins=admin"),
        ({"OIDC_CLIENT_ID": ""}, "OIDC_CLIENT_ID"),
        ({"OIDC_ISSUER": "login.example.com"}, "an address is expected"),
        ({"OIDC_ISSUER": "http://login.example.com"}, "OIDC_ALLOW_HTTP"),
        ({"OIDC_REDIRECT_URL": "https://images.example.com/"}, "/login/oidc/callback"),
        ({"OIDC_SCOPES": "profile"}, "openid"),
        ({"OIDC_PASSWORDS": "no"}, "OIDC_PASSWORDS"),
    ],
    ids=repr,
)
def test_a_wrong_setting_is_told_before_anybody_signs_in(
    changed: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert load_settings(OidcSettings).name == "login.example.com"
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said):
        load_settings(OidcSettings)


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["staff"]}, UserRole.VIEWER),
        ({"groups": ["staff", "shop-admins"]}, UserRole.ADMIN),
        ({"groups": "shop-admins"}, UserRole.ADMIN),
        ({"groups": ["Staff", "admin", 7, None]}, None),
        ({"groups": {"staff": True}}, None),
        ({"realm_access": {"roles": ["staff"]}}, None),
        ({}, None),
    ],
    ids=repr,
)
def test_groups_say_what_somebody_may_do(claims: Mapping[str, Any], role: UserRole | None) -> None:
    settings = settings_for("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert settings.role_of(claims) is role
    nested = settings.model_copy(update={"groups_claim": "realm_access.roles"})
    assert nested.role_of({"realm_access": {"roles": claims.get("groups")}}) is role
    named = settings.model_copy(update={"groups_claim": "https://example.com/groups"})
    assert named.role_of({"https://example.com/groups": claims.get("groups")}) is role


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "anna", "name": "Anna B", "sub": "1"}, "anna"),
        ({"name": "Анна Ö. Лис", "sub": "1"}, "Анна.Ö.Лис"),
        ({"preferred_username": " ", "email": "anna@example.com", "sub": "1"}, "anna@example.com"),
        ({"preferred_username": "<b>anna</b>\n", "sub": "1"}, "b.anna.b"),
        ({"name": "x" * 500, "sub": "1"}, "x" * 80),
        ({"name": "ａｎｎａ", "sub": "1"}, "anna"),
        ({"sub": "0f3-77"}, "0f3-77"),
        ({"name": "§§", "sub": "//"}, "somebody"),
    ],
    ids=repr,
)
def test_people_are_called_by_a_name_that_reads_well(claims: Mapping[str, object], name: str) -> None:
    assert name_from(claims) == name


def test_two_people_of_one_name_are_two_and_keep_their_names(world: World) -> None:
    person(world, "anna")
    issuer, other = "https://login.example.com", "https://other.example.com"

    def taken_in(issuer: str, subject: str, called: str) -> str:
        number = people.take_in(world.engine, issuer, subject, called, UserRole.VIEWER)
        return next(one.name for one in access.list_users(world.engine) if one.id == number)

    assert taken_in(issuer, "1", "anna") == "anna-2"
    assert taken_in(issuer, "2", "Anna") == "Anna-3"
    assert taken_in(other, "1", "anna") == "anna-4"
    assert taken_in(issuer, "1", "renamed") == "anna-2"
    assert access.log_in(world.engine, "anna", PASSWORD) is not None


def test_a_logout_ends_the_session_that_it_names_and_those_that_have_no_name(world: World) -> None:
    issuer = "https://login.example.com"
    one, other = (people.take_in(world.engine, issuer, subject, "anna", UserRole.VIEWER) for subject in "12")
    for user_id, name in ((one, "x"), (one, ""), (one, "y"), (other, "")):
        people.begin_session(world.engine, user_id, name, b"", NOW)
    assert people.end_by_provider(world.engine, issuer, "1", "x", "first", NOW) == 2
    assert people.end_by_provider(world.engine, issuer, "", "z", "second", NOW) == 0
    assert people.end_by_provider(world.engine, issuer, "1", "", "third", NOW) == 1


def lied(fresh: LyingProvider, browser: Browser, **query: str) -> Any:
    """A login at the lying provider, whose page nobody sees: it sends everybody back."""
    away = browser.session.get(f"{browser.address}/login/oidc", allow_redirects=False, timeout=20)
    asked = dict(part.split("=", 1) for part in away.headers["Location"].partition("?")[2].split("&"))
    fresh.claims["nonce"] = asked["nonce"]
    sent = {"state": asked["state"], "code": "c", **query}
    return browser.session.get(f"{browser.address}/login/oidc/callback", params=sent, allow_redirects=False, timeout=20)


@pytest.fixture
def lying(world: World, fresh: LyingProvider) -> Any:
    """A catalogue at the lying provider."""
    with house(world, fresh.address, free_address()) as opened:
        yield opened


def free_address() -> str:
    with bind() as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_answer_is_of_the_provider_that_was_asked(lying: House, fresh: LyingProvider) -> None:
    assert lied(fresh, Browser(lying.site), iss=fresh.address).status_code == 303
    assert lied(fresh, Browser(lying.site), iss="https://evil.example").status_code == 403
    assert "let nobody in" in lied(fresh, Browser(lying.site), code="", error="server_error").text
    assert "was cancelled" in lied(fresh, Browser(lying.site), code="", error="access_denied").text
    fresh.metadata["authorization_response_iss_parameter_supported"] = True
    assert lying.opened.oidc is not None
    lying.opened.oidc.provider._known = None
    assert lied(fresh, Browser(lying.site)).status_code == 403


def test_without_a_refresh_token_a_session_ends_and_the_provider_is_passed_again(
    lying: House, fresh: LyingProvider, world: World
) -> None:
    fresh.answer = lambda: JSONResponse({"access_token": "a", "id_token": fresh.id_token()})
    browser = Browser(lying.site)
    lied(fresh, browser)
    lying.clock.later(9.9)
    assert "Sign out" in browser.get("/").text
    lying.clock.later(0.2)
    assert "Sign out" not in browser.get("/").text
    away = browser.session.get(f"{browser.address}/admin/held", allow_redirects=False, timeout=20)
    assert away.headers["Location"] == "/login/oidc?next=%2Fadmin%2Fheld"


def test_a_provider_that_is_away_signs_nobody_out_for_a_moment_and_then_lets_nobody_stay(
    lying: House, fresh: LyingProvider, world: World
) -> None:
    person(world, "bert", UserRole.VIEWER)
    browser = Browser(lying.site)
    lied(fresh, browser)
    with world.engine.connect() as connection:
        [kept] = connection.execute(sa.select(oidc_session.c.tokens)).scalars()
    assert fresh.id_token().split(".")[0].encode() not in bytes(kept)
    fresh.answer = lambda: Response("busy", 503)
    lying.clock.later(6)
    assert browser.get("/admin/held").status_code == 200
    lying.clock.later(5)
    assert "Sign out" not in browser.get("/").text
    said = "Our company does not answer as it should. Try again in a minute."
    page = browser.get("/admin/held")
    assert (page.url, said in page.text) == (f"{browser.address}/login?next=%2Fadmin%2Fheld", True)
    assert said in browser.get("/login/oidc").text
    # The session itself is not over: it goes on when the provider is back.
    fresh.answer = None
    assert lying.opened.oidc is not None
    lying.opened.oidc.provider._silent_until = 0.0
    assert "Sign out" in browser.get("/").text
    fresh.answer = lambda: Response("busy", 503)
    # Who has a password comes in all the same.
    lying.clock.later(11)
    assert "Sign out" not in browser.get("/").text
    assert browser.log_in("bert").status_code == 200
    assert "<strong>bert</strong>" in browser.get("/").text


def test_passwords_that_are_off_let_in_those_of_the_broken_glass_alone(world: World, fresh: LyingProvider) -> None:
    for name in ("anna", "glass"):
        person(world, name)
    with house(world, fresh.address, free_address()) as before:
        anna = Browser(before.site)
        assert anna.log_in("anna").status_code == 200
        cookies = anna.session.cookies
    with house(world, fresh.address, free_address(), passwords="off", break_glass=("glass",)) as opened:
        anna, glass = Browser(opened.site), Browser(opened.site)
        anna.session.cookies = cookies
        assert "Sign out" not in anna.get("/").text
        refused = anna.log_in("anna")
        assert (refused.status_code, "Name or password is wrong." in refused.text) == (401, True)
        assert glass.log_in("glass").status_code == 200
        assert "Passwords are switched off but for glass." in glass.get("/admin/users").text
    with house(world, fresh.address, free_address(), passwords="off") as opened:
        page = Browser(opened.site).get("/login").text
        assert ("/login" in forms_of(page), "Sign in with Our company" in page) == (False, True)


@pytest.mark.parametrize(("role", "status"), [(None, 401), (UserRole.VIEWER, 403), (UserRole.ADMIN, 204)])
def test_a_proxy_is_told_who_may_see_dagster(role: UserRole | None, status: int, lying: House, world: World) -> None:
    browser = Browser(lying.site)
    if role is not None:
        person(world, "anna", role)
        browser.log_in("anna")
    answer = browser.get("/login/check")
    assert (answer.status_code, answer.content) == (status, b"")


@pytest.mark.parametrize(
    ("wanted", "is_ours"),
    [
        ("https://dagster.example.com/runs?a=1", True),
        ("https://dagster.example.com.evil.example/", False),
        ("https://dagster.example.com@evil.example/", False),
        ("https://dagster.example.com\\@evil.example/", False),
        ("http://dagster.example.com/", False),
        ("https://evil.example/https://dagster.example.com/", False),
    ],
)
def test_after_the_login_dagsters_address_alone_is_ours_too(wanted: str, is_ours: bool) -> None:
    assert own_path(wanted, "https://dagster.example.com/") == (wanted if is_ours else "/")
    assert own_path(wanted) == "/"


def test_doctor_asks_the_provider_who_it_is_whether_it_knows_us_and_its_clock(
    provider: RealProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(**changed: str) -> dict[str, tuple[State, str]]:
        here = {
            "ISSUER": provider.issuer, "CLIENT_ID": "catalogue", "CLIENT_SECRET": "a secret of the client",
            "ROLES": "staff=viewer", "REDIRECT_URL": f"{provider.catalogue}/login/oidc/callback", **changed,
        }  # fmt: skip
        for name, value in here.items():
            monkeypatch.setenv(f"OIDC_{name}", value)
        site = Site(Settings(), None)
        return {one.check: (one.state, one.said) for one in examine(site, {PART: doctor.probes()}, {})}

    good = found()
    assert {check: state for check, (state, _) in good.items()} == dict.fromkeys(
        ("answers", "clock", "redirect address"), State.FINE
    )
    assert found(PASSWORDS="off")["broken glass"][0] is State.WARNING
    assert found(CLIENT_ID="other")["redirect address"][0] is State.WRONG
    assert found(REDIRECT_URL="http://127.0.0.1:1/login/oidc/callback")["redirect address"][0] is State.WRONG
    wrong = found(ISSUER=provider.issuer.replace("127.0.0.1", "localhost"))["answers"]
    assert (wrong[0], provider.issuer in wrong[1]) == (State.WRONG, True)
    assert found(ISSUER=free_address())["answers"][0] is State.WRONG


@pytest.mark.slow
def test_a_catalogue_without_a_provider_and_a_synchronisation_import_nothing_of_it() -> None:
    program = (
        "import sys; import imagesync_pipelines.definitions as loaded; loaded.defs(); print(*sys.modules); "
        "import imagesync_pipelines.web.catalogue.app, imagesync_pipelines.web.catalogue.state; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    of_runs, of_catalogue = (set(line.split()) for line in done.stdout.splitlines()[-2:])
    assert {
        one for one in of_runs if one.startswith(("imagesync_pipelines.web.catalogue", "authlib", "pwdlib"))
    } == set()
    assert "imagesync_pipelines.web.catalogue.oidc.settings" in of_catalogue
    speaking = ("authlib", "joserfc", "cryptography.fernet", "imagesync_pipelines.web.catalogue.oidc.login")
    assert {one for one in of_catalogue if one.startswith(speaking)} == set()
