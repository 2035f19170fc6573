"""Users on their page: added with a password that is shown once, another role, out at once, in again."""

import re

import requests

from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.access import UserRole
from imagesync_pipelines_tests.web.catalogue.admin.browsing import Browser, forms_of
from imagesync_pipelines_tests.web.catalogue.world import Site, World


def shown_password(page: requests.Response) -> str:
    found = re.findall(r'<code class="secret">([^<]*)</code>', page.text)
    assert len(found) == 1
    assert (page.status_code, page.history, page.headers["Cache-Control"]) == (200, [], "no-store")
    return str(found[0])


def id_of(world: World, name: str) -> int:
    return next(one.id for one in access.list_users(world.engine) if one.name == name)


def test_somebody_is_added_and_the_password_is_shown_once(site: Site, world: World, admin: Browser) -> None:
    page = admin.send_form("/admin/users", "/admin/users", name=" carla ", role="viewer")
    password = shown_password(page)
    assert re.fullmatch(r"([a-z2-9]{4}-){4}[a-z2-9]{4}", password)
    assert password not in admin.get("/admin/users").text
    carla = Browser(site)
    carla.log_in("carla", password)
    assert carla.get("/admin/held").status_code == 200
    assert carla.get("/admin/users").status_code == 403
    assert 'href="/admin/users"' not in carla.get("/").text


def test_what_is_no_new_user_is_said_above_the_form(world: World, admin: Browser) -> None:
    for name, told in (("anna", "There is a user anna already"), ("a b", "a name has"), ("", "a name has")):
        page = admin.send_form("/admin/users", "/admin/users", name=name, role="admin")
        assert (page.status_code, told in page.text) == (409, True), name
        assert "secret" not in page.text
    assert [one.name for one in access.list_users(world.engine)] == ["anna"]
    assert admin.send_form("/admin/users", "/admin/users", name="x", role="owner").status_code == 400


def test_a_new_password_ends_sessions_and_a_role_holds_at_once(
    world: World, admin: Browser, viewer: Browser, site: Site
) -> None:
    bert = id_of(world, "bert")
    assert "bert is admin now." in admin.send_form("/admin/users", f"/admin/users/{bert}/role").text
    assert viewer.get("/admin/users").status_code == 200
    assert "bert is viewer now." in admin.send_form("/admin/users", f"/admin/users/{bert}/role").text
    password = shown_password(admin.send_form("/admin/users", f"/admin/users/{bert}/password"))
    assert viewer.get("/admin/held").url.endswith("/login?next=%2Fadmin%2Fheld")
    viewer.log_in("bert", password)
    assert viewer.get("/admin/held").status_code == 200


def test_who_is_disabled_is_out_at_once_and_comes_in_again_by_a_new_password(
    world: World, admin: Browser, viewer: Browser
) -> None:
    bert = id_of(world, "bert")
    assert "bert may not sign in any more" in admin.send_form("/admin/users", f"/admin/users/{bert}/disable").text
    assert "Sign out" not in viewer.get("/").text
    assert viewer.log_in("bert").status_code == 401
    forms = forms_of(admin.get("/admin/users").text)
    assert f"/admin/users/{bert}/role" not in forms
    viewer.log_in("bert", shown_password(admin.send_form("/admin/users", f"/admin/users/{bert}/password")))
    assert "Sign out" in viewer.get("/").text


def test_an_admin_is_left_whoever_is_at_work(world: World, admin: Browser) -> None:
    anna, csrf = id_of(world, "anna"), admin.csrf()
    forms = forms_of(admin.get("/admin/users").text)
    for action in ("role", "disable"):
        path = f"/admin/users/{anna}/{action}"
        assert path not in forms
        refused = admin.post(path, {"csrf": csrf, "role": "viewer"})
        assert (refused.status_code, "Nobody changes their own role" in refused.text) == (409, True)
    [one] = access.list_users(world.engine)
    assert (one.role, one.is_active) == (UserRole.ADMIN, True)
    for action in ("role", "disable", "password"):
        gone = admin.post(f"/admin/users/4711/{action}", {"csrf": csrf, "role": "viewer"})
        assert (gone.status_code, "no such user" in gone.text) == (409, True)


def test_ones_own_new_password_is_shown_though_it_ends_the_session(world: World, admin: Browser) -> None:
    password = shown_password(admin.send_form("/admin/users", f"/admin/users/{id_of(world, 'anna')}/password"))
    assert "Sign out" not in admin.get("/").text
    admin.log_in("anna", password)
    assert "Sign out" in admin.get("/").text
