"""Proves what an upload answers, what makes an asset a duplicate, and how assets are read, renamed and deleted."""

import base64

import pytest
import requests

from imagesync_pipelines_tests.sandbox.plytix.callers import SECONDS, Caller, Web, errors_of, picture

pytestmark = pytest.mark.slow

URL = "https://m.media-amazon.com/images/I/91uohwV+k3L.jpg"
ASSET_KEYS = {
    *("id", "filename", "extension", "content_type", "file_type", "file_size", "status", "assigned", "n_products"),
    *("n_catalogs", "categories", "public", "has_custom_thumb", "created", "modified", "file_modified", "url"),
    "thumbnail",
}


def filenames(caller: Caller) -> list[str]:
    return [asset.filename for asset in caller.sandbox.assets()]


def test_an_upload_by_url_answers_with_the_asset(caller: Caller) -> None:
    answer = caller.upload(URL)
    [asset] = answer.json()["data"]
    assert answer.status_code == 201
    assert answer.headers["Location"].endswith(f"/api/v1/assets/{asset['id']}")
    assert set(asset) == ASSET_KEYS
    assert (asset["filename"], asset["extension"]) == ("91uohwV+k3L.jpg", "jpg")
    assert (asset["content_type"], asset["file_type"]) == ("image/jpeg", "IMAGES")
    assert asset["file_size"] == len(picture("91uohwV+k3L.jpg"))
    assert (asset["assigned"], asset["n_products"], asset["status"]) == (False, 0, "ACTIVE")
    assert asset["created"].endswith("+00:00")
    assert "+" not in asset["file_modified"]


def test_an_asset_id_is_24_lower_case_hex_characters(caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    assert len(asset_id) == 24
    assert set(asset_id) <= set("0123456789abcdef")


def test_the_source_url_is_remembered_nowhere(caller: Caller) -> None:
    text = caller.upload(URL).text
    assert "amazon" not in text
    [asset] = caller.sandbox.assets()
    assert "amazon" not in repr(vars(asset))


def test_the_same_url_twice_is_a_409_that_names_the_asset(caller: Caller) -> None:
    first = caller.upload(URL).json()["data"][0]["id"]
    answer = caller.upload(URL)
    assert answer.status_code == 409
    assert answer.json() == {"error": {"msg": "Asset already exists", "errors": [{"field": "asset.id", "msg": first}]}}
    assert len(caller.sandbox.assets()) == 1


def test_the_same_name_and_content_from_another_url_is_the_same_asset(caller: Caller) -> None:
    caller.upload(URL)
    assert caller.upload("https://images-na.ssl-images-amazon.com/images/I/91uohwV+k3L.jpg").status_code == 409


def test_the_same_content_under_another_name_is_a_second_asset(caller: Caller, web: Web) -> None:
    caller.upload(URL)
    assert caller.upload(URL, filename="other.jpg").status_code == 201
    first, second = caller.sandbox.assets()
    assert (first.sha256, first.filename) == (second.sha256, "91uohwV+k3L.jpg")
    assert second.filename == "other.jpg"


def test_the_same_name_with_other_content_gets_another_name(caller: Caller, web: Web) -> None:
    caller.upload("https://one.example/rabbit.png")
    web.put("https://two.example/rabbit.png", picture("another rabbit"))
    answer = caller.upload("https://two.example/rabbit.png")
    stored = answer.json()["data"][0]["filename"]
    assert answer.status_code == 201
    assert stored.startswith("rabbit_")
    assert stored.endswith(".png")
    assert len(stored) == len("rabbit_aefee.png")


def test_a_repeated_upload_of_a_renamed_file_makes_another_asset(caller: Caller, web: Web) -> None:
    caller.upload("https://one.example/rabbit.png")
    web.put("https://two.example/rabbit.png", picture("another rabbit"))
    answers = [caller.upload("https://two.example/rabbit.png").status_code for _ in range(2)]
    assert answers == [201, 201]
    assert len(set(filenames(caller))) == 3


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.example/images/I/31%2Ba-b_c.jpg", "31+a-b_c.jpg"),
        ("https://x.example/images/I/31+ab.jpg?x=1&y=/z.png", "31+ab.jpg"),
        ("https://x.example/images/I/A._SL1500_.jpg", "A._SL1500_.jpg"),
    ],
    ids=["percent", "query", "token"],
)
def test_without_a_filename_the_last_segment_of_the_url_is_taken(caller: Caller, url: str, name: str) -> None:
    assert caller.upload(url).json()["data"][0]["filename"] == name


@pytest.mark.parametrize("status", [422, 400])
@pytest.mark.parametrize(
    ("body", "answered", "kind"),
    [
        (b"", 404, "text/plain"),
        (b"", 403, "text/plain"),
        (b"", 503, "text/plain"),
        (b"<!DOCTYPE html><html></html>", 200, "image/jpeg"),
        (b"\xff\xd8\xff", 200, "text/html; charset=utf-8"),
        (b"", 200, "image/jpeg"),
        (b"MZ\x90\x00", 200, "image/jpeg"),
    ],
    ids=["404", "403", "503", "a page that says it is a picture", "a picture that says it is a page", "empty", "exe"],
)
def test_what_is_no_file_is_refused_on_the_field_url(
    caller: Caller, web: Web, body: bytes, answered: int, kind: str, status: int
) -> None:
    caller.sandbox.switches.bad_image_status = status
    answer = caller.upload(web.put(URL, body, status=answered, content_type=kind))
    assert answer.status_code == status
    assert [field for field, _ in errors_of(answer)] == ["url"]
    assert caller.sandbox.assets() == ()


def test_a_host_that_does_not_answer_is_refused_on_the_field_url(caller: Caller, web: Web) -> None:
    web.pages[URL] = TimeoutError("too slow")
    answer = caller.upload(URL)
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, "url")


@pytest.mark.parametrize("url", ["", "no url", "ftp://x.example/a.jpg", "//x.example/a.jpg", "http://[", "https:///a"])
def test_what_is_no_url_is_refused_and_not_fetched(caller: Caller, web: Web, url: str) -> None:
    answer = caller.upload(url)
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, "url")
    assert web.asked == []


@pytest.mark.parametrize(
    ("content", "name", "kind", "group"),
    [
        (b"\x89PNG\r\n\x1a\n", "a.jpg", "image/png", "IMAGES"),
        (b"GIF89a", "a.gif", "image/gif", "IMAGES"),
        (b"RIFF\0\0\0\0WEBP", "a.webp", "image/webp", "IMAGES"),
        (b"II*\0", "a.tif", "image/tiff", "IMAGES"),
        (b"%PDF-1.7", "a.pdf", "application/pdf", "OTHER"),
        (b"....", "a.mp4", "video/mp4", "VIDEOS"),
        (b"....", "a.unheard-of", None, None),
    ],
)
def test_the_content_type_is_the_true_one(
    caller: Caller, content: bytes, name: str, kind: str | None, group: str | None
) -> None:
    answer = caller.ask("POST", "assets", {"content": base64.b64encode(content).decode(), "filename": name})
    if kind is None:
        assert answer.status_code == 422
    else:
        [asset] = answer.json()["data"]
        assert (asset["content_type"], asset["file_type"]) == (kind, group)


def test_content_is_uploaded_as_base64(caller: Caller, web: Web) -> None:
    body = {"content": base64.b64encode(picture("x")).decode(), "filename": "x.jpg"}
    assert caller.ask("POST", "assets", body).status_code == 201
    assert caller.ask("POST", "assets", body).status_code == 409
    assert caller.sandbox.assets()[0].content == picture("x")
    assert web.asked == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"content": "eA=="}, "filename"),
        ({"content": "no base64!", "filename": "x.jpg"}, "content"),
        ({"filename": "x.jpg"}, "url"),
        ({"url": 7}, "url"),
        ({"url": URL, "filename": 7}, "filename"),
    ],
    ids=["no filename", "no base64", "neither", "number", "filename no text"],
)
def test_an_upload_of_the_wrong_shape_names_its_field(caller: Caller, body: object, field: str) -> None:
    answer = caller.ask("POST", "assets", body)
    assert (answer.status_code, errors_of(answer)[0][0]) == (422, field)


def test_an_upload_that_is_no_object_is_a_400(caller: Caller) -> None:
    assert caller.ask("POST", "assets", [URL]).status_code == 400


def test_an_asset_is_read_by_its_id(caller: Caller) -> None:
    created = caller.upload(URL).json()["data"]
    assert caller.ask("GET", f"assets/{created[0]['id']}").json()["data"] == created


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("asset_id", ["0" * 24, "non-existing-id"])
def test_an_asset_that_is_not_there_is_a_404_with_a_space_in_front(caller: Caller, method: str, asset_id: str) -> None:
    answer = caller.ask(method, f"assets/{asset_id}", {} if method == "PATCH" else None)
    assert answer.status_code == 404
    assert answer.json()["error"]["msg"] == f" No results found for {asset_id}"
    assert errors_of(answer) == [("asset_id", "asset does not exist")]


def test_an_asset_is_renamed_but_keeps_its_extension(caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    answer = caller.ask("PATCH", f"assets/{asset_id}", {"filename": "b.jpg"})
    assert (answer.status_code, answer.json()["data"][0]["filename"]) == (200, "b.jpg")
    refused = caller.ask("PATCH", f"assets/{asset_id}", {"filename": "b.png"})
    assert (refused.status_code, errors_of(refused)) == (422, [("filename", "Extension changes are not allowed")])
    assert filenames(caller) == ["b.jpg"]


def test_renaming_to_the_same_name_changes_nothing_and_a_number_is_no_name(caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    assert caller.ask("PATCH", f"assets/{asset_id}", {"filename": "a.jpg"}).status_code == 200
    assert caller.ask("PATCH", f"assets/{asset_id}", {"filename": 7}).status_code == 422
    assert filenames(caller) == ["a.jpg"]


def test_a_name_that_is_taken_is_treated_as_in_an_upload(caller: Caller, web: Web) -> None:
    first, second = caller.asset("a.jpg"), caller.asset("b.jpg")
    answer = caller.ask("PATCH", f"assets/{second}", {"filename": "a.jpg"})
    assert answer.json()["data"][0]["filename"].startswith("a_")
    web.put("https://images.example/c.jpg", picture("a.jpg"))
    refused = caller.ask("PATCH", f"assets/{caller.asset('c.jpg')}", {"filename": "a.jpg"})
    assert (refused.status_code, errors_of(refused)) == (409, [("asset.id", first)])


def test_the_old_name_of_a_renamed_asset_is_free(caller: Caller) -> None:
    caller.ask("PATCH", f"assets/{caller.asset('a.jpg')}", {"filename": "b.jpg"})
    caller.asset("a.jpg")
    assert filenames(caller) == ["b.jpg", "a.jpg"]


def test_a_deleted_asset_is_gone_and_its_links_with_it(caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    caller.link("ERP-7", asset_id)
    caller.link("ERP-7", asset_id, "thumbnail")
    assert caller.ask("DELETE", f"assets/{asset_id}").status_code == 204
    assert caller.ask("GET", f"assets/{asset_id}").status_code == 404
    assert (caller.sandbox.gallery("ERP-7"), caller.sandbox.thumbnail("ERP-7")) == ((), None)


def test_a_deleted_file_can_be_uploaded_again_and_has_another_id(caller: Caller) -> None:
    first = caller.asset("a.jpg")
    caller.ask("DELETE", f"assets/{first}")
    assert caller.asset("a.jpg") != first


def test_a_deletion_shows_late_when_the_switch_says_so(caller: Caller) -> None:
    caller.sandbox.switches.delete_delay = 3
    asset_id = caller.asset("a.jpg")
    caller.ask("DELETE", f"assets/{asset_id}")
    assert caller.ask("GET", f"assets/{asset_id}").status_code == 200
    assert caller.link("ERP-7", asset_id).status_code == 404
    caller.sandbox.clock.move(3)
    assert caller.ask("GET", f"assets/{asset_id}").status_code == 404


def test_the_same_uploads_get_the_same_ids_in_another_run(caller: Caller) -> None:
    before = [caller.asset(name) for name in ("a.jpg", "b.jpg")]
    for asset_id in before:
        caller.ask("DELETE", f"assets/{asset_id}")
    caller.sandbox.account._made.clear()
    assert [caller.asset(name) for name in ("b.jpg", "a.jpg")] == before[::-1]


def test_the_stamps_are_of_the_sandboxs_clock(caller: Caller) -> None:
    caller.sandbox.clock.move(60)
    caller.asset("a.jpg")
    assert caller.sandbox.assets()[0].created == caller.sandbox.clock.now()


def test_the_file_is_shown_to_everybody_and_costs_no_call(caller: Caller) -> None:
    [asset] = caller.upload("https://x.example/31+a b.jpg").json()["data"]
    calls = caller.sandbox.ledger.count()
    for url in (asset["url"], asset["thumbnail"]):
        answer = requests.get(url, timeout=SECONDS)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
        assert answer.content == picture("31+a b.jpg")
    assert requests.get(asset["url"] + "x", timeout=SECONDS).status_code == 404
    assert caller.sandbox.ledger.count() == calls
