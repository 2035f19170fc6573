"""What the PIM is asked, and what its answers mean (contract plytix.md, sections 5 to 8)."""

from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.errors import (
    AssetGoneError,
    ImageRefusedError,
    ProductUnfitError,
    SearchRefusedError,
    WriteRefusedError,
)
from imagesync_pipelines.connectors.plytix.model import Asset, PlytixProduct
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.upstream.errors import BadAnswerError, RedirectRefusedError
from imagesync_pipelines_tests.connectors.plytix.client.host import (
    Call,
    an_id,
    api_for,
    plytix_host,
    product,
    read_product,
    refusal,
    rows,
)
from imagesync_pipelines_tests.upstream.servers import http, json_answer

P, A, B = an_id(1), an_id(10), an_id(11)
URL = "https://m.media-amazon.com/images/I/91uohwV+k3L.jpg"
NAME = "amazon_91uohwV_k3L.jpg"


def sku(number: int) -> str:
    return f"AMZN-US-B{number:09d}"


def asked_skus(call: Call) -> list[str]:
    """The SKUs that a search asked for, in either form."""
    values: list[str] = []
    for [condition] in call.body["filters"]:
        value = condition["value"]
        values += value if isinstance(value, list) else [value]
    return values


def test_products_are_searched_a_hundred_at_a_time_and_no_page_is_asked_for_that_can_hold_none(
    database: sa.Engine,
) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.answers = lambda call: [rows(*[product(int(name[-9:]), name) for name in asked_skus(call)])]
        found = api.search_products([sku(number) for number in range(250)] + [sku(0)])
        assert sorted(found) == [sku(number) for number in range(250)]
        assert [len(asked_skus(call)) for call in host.calls] == [100, 100, 50]
        assert host.calls[0].path == "/api/v1/products/search"
        assert host.calls[2].body == {
            "filters": [[{"field": "sku", "operator": "in", "value": [sku(number) for number in range(200, 250)]}]],
            "attributes": ["thumbnail", "attributes.amazon_images"],
            "pagination": {"page": 1, "page_size": 100},
        }
        assert api.search_products([]) == {}
        assert api.calls == 3


def test_only_the_very_sku_is_the_product(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(product(1, sku(1).lower()), product(2, f"{sku(1)}-2"), product(3, sku(1))))
        assert {name: found.id for name, found in api.search_products([sku(1), sku(2)]).items()} == {sku(1): an_id(3)}


def test_pages_follow_while_they_are_full_and_a_product_is_missing(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(*[product(number, f"other {number}") for number in range(100)]), rows(product(7, sku(7))))
        assert api.search_products([sku(7)])[sku(7)].id == an_id(7)
        assert [call.body["pagination"]["page"] for call in host.calls] == [1, 2]


def test_where_in_is_refused_the_skus_are_asked_one_by_one_from_then_on(database: sa.Engine) -> None:
    def answer(call: Call) -> list[bytes]:
        if call.body["filters"][0][0]["operator"] == "in":
            return [refusal(422, "Schema validation error", ("in", "unknown operator"))]
        return [rows(*[product(int(name[-9:]), name) for name in asked_skus(call)])]

    with plytix_host() as host, api_for(host, database) as api:
        host.answers = answer
        assert len(api.search_products([sku(number) for number in range(150)])) == 150
        assert [len(call.body["filters"]) for call in host.calls] == [1, 100, 50]
        assert host.calls[1].body["filters"][0] == [{"field": "sku", "operator": "eq", "value": sku(0)}]


def test_a_search_that_is_refused_in_both_forms_says_what_plytix_says(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(refusal(422, "Schema validation error", ("attributes.amazon_images", "unknown column")))
        with pytest.raises(
            SearchRefusedError, match=r"Schema validation error; attributes.amazon_images: unknown column"
        ):
            api.search_products([sku(1)])
        assert len(host.calls) == 2


@pytest.mark.parametrize(
    ("thumbnail", "gallery", "read"),
    [
        ({"id": A, "filename": "x", "thumb": "u", "url": "u"}, [{"id": A, "filename": "x"}, {"id": B}], (A, (A, B))),
        ({"id": A}, [A, B], (A, (A, B))),
        ([A], [B], (A, (B,))),
        (A, A, (A, (A,))),
        ([{"id": A}], {"id": B}, (A, (B,))),
        (None, None, (None, ())),
        ([], [], (None, ())),
        ("", [A, A, B], (None, (A, B))),
    ],
    ids=["v1", "v2", "a list", "texts", "objects in lists", "null", "empty", "the same twice"],
)
def test_media_are_read_in_every_form(
    database: sa.Engine, thumbnail: object, gallery: object, read: tuple[str | None, tuple[str, ...]]
) -> None:
    row = product(1, sku(1), thumbnail=thumbnail, attributes={"amazon_images": gallery, "other": [B]}, _parent_id=B)
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(row))
        assert read_product(api) == PlytixProduct(P, sku(1), read[0], read[1], B)


def test_a_column_may_come_under_its_full_name(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows({"id": P, "sku": sku(1), "attributes.amazon_images": [A], "parent_id": None}))
        assert read_product(api).gallery == (A,)


@pytest.mark.parametrize(
    "row",
    [
        product(1, attributes={"amazon_images": [7]}),
        product(1, attributes={"amazon_images": [{"filename": "x"}]}),
        product(1, thumbnail=True),
        {"id": P},
        {"sku": sku(1)},
    ],
    ids=["a number", "an object without id", "a boolean", "no SKU", "no id"],
)
def test_a_product_that_cannot_be_read_is_an_error_and_no_empty_gallery(
    database: sa.Engine, row: dict[str, Any]
) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(row))
        with pytest.raises(BadAnswerError):
            read_product(api)


@pytest.mark.parametrize("answer", [json_answer([]), json_answer({"data": {}}), json_answer({"data": [7]})])
def test_an_answer_without_its_envelope_is_said_so(database: sa.Engine, answer: bytes) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(answer)
        with pytest.raises(BadAnswerError):
            read_product(api)


def test_an_upload_gives_the_name_that_plytix_chose(database: sa.Engine) -> None:
    answer = {"id": A, "filename": "amazon_91uohwV_k3L_aefee.jpg", "file_size": 4000, "content_type": "image/jpeg"}
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(answer, status=201))
        upload = api.create_asset(URL, NAME)
        assert upload == (Asset(A, "amazon_91uohwV_k3L_aefee.jpg", 4000), False)
        assert (host.calls[0].path, host.calls[0].body) == ("/api/v1/assets", {"url": URL, "filename": NAME})


def test_an_upload_of_what_is_there_gives_the_id_from_the_answer(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(
            refusal(409, "Asset already exists", ("other", "x"), ("asset.id", A)), rows({"id": A, "file_size": 4000})
        )
        assert api.create_asset(URL, NAME) == (Asset(A, NAME, 4000), True)
        assert host.calls[1].path == f"/api/v1/assets/{A}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(rows({"id": A, "content_type": "image/gif", "file_size": 43}), "43 bytes", id="a pixel"),
        pytest.param(rows({"id": A, "content_type": "text/html", "file_size": 900}), "text/html", id="HTML"),
        pytest.param(refusal(404, f" No results found for {A}", ("asset_id", "gone")), "cannot be read", id="gone"),
    ],
)
def test_what_is_there_instead_of_a_picture_is_not_taken_for_it(database: sa.Engine, answer: bytes, said: str) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(refusal(409, "Asset already exists", ("asset.id", A)), answer)
        with pytest.raises(ImageRefusedError, match=said):
            api.create_asset(URL, NAME)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(409, "Asset already exists", ("asset.id", "already linked")), "without the id of an asset"),
        (refusal(409, "Asset already exists", ("asset.id", 409)), "without the id of an asset"),
        (json_answer({"error": {"details": {"existing_asset_id": A}}}, 409), "without the id of an asset"),
        (refusal(422, "Schema validation error", ("url", "unreachable")), "url: unreachable"),
        (refusal(400, "The browser sent a request"), "The browser sent"),
        (refusal(403, "Permission denied."), "Permission denied"),
        (refusal(422, "no", ("thumbnail", {"_schema": ["Invalid input type."]})), "Invalid input type"),
        (http(413, b"<html>too large</html>"), "HTTP 413.*does not say why"),
        (json_answer({"detail": "not so"}, 404), "not so"),
        (rows({"id": A, "content_type": "text/html", "file_size": 5000}, status=201), "gave text/html"),
        (rows({"id": A, "content_type": "image/gif", "file_size": 43}, status=201), "43 bytes, which is no picture"),
    ],
    ids=[
        "an id that is none", "a number for an id", "the field that there is not", "an address nobody reaches",
        "a bad request", "forbidden", "an object for a message", "no JSON", "another envelope", "HTML", "a pixel",
    ],
)  # fmt: skip
def test_an_image_that_is_refused_concerns_itself_only(database: sa.Engine, answer: bytes, said: str) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(answer)
        with pytest.raises(ImageRefusedError, match=said):
            api.create_asset(URL, NAME)
        assert len(host.calls) == 1


@pytest.mark.parametrize("answer", [rows(status=201), json_answer({}, 201), rows({"filename": NAME}, status=201)])
def test_an_upload_answered_without_the_asset_is_a_lost_answer(database: sa.Engine, answer: bytes) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(answer)
        with pytest.raises(AnswerLostError):
            api.create_asset(URL, NAME)


def test_assets_are_found_by_their_exact_names(database: sa.Engine) -> None:
    names = [f"amazon_{number}.jpg" for number in range(60)]

    def answer(call: Call) -> list[bytes]:
        found = [{"id": an_id(int(name[7:-4])), "filename": name, "file_size": 9} for name in asked_skus(call)]
        return [rows({"id": an_id(99), "filename": "AMAZON_0.JPG"}, *found[:-1])]

    with plytix_host() as host, api_for(host, database) as api:
        host.answers = answer
        found = api.assets_by_filename(names)
        assert sorted(found) == sorted(name for name in names if name not in {"amazon_49.jpg", "amazon_59.jpg"})
        assert found["amazon_0.jpg"] == Asset(an_id(0), "amazon_0.jpg", 9)
        assert [len(call.body["filters"]) for call in host.calls] == [50, 10]
        assert host.calls[0].path == "/api/v1/assets/search"
        assert host.calls[0].body["filters"][1] == [{"field": "filename", "operator": "eq", "value": "amazon_1.jpg"}]


def test_assets_are_found_by_their_ids(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.answers = lambda call: [
            rows(*[{"id": name, "filename": f"{name}.jpg"} for name in asked_skus(call) if name != B])
        ]
        found = api.assets_by_id([an_id(number) for number in range(120)])
        assert len(found) == 119
        assert B not in found
        assert found[A] == Asset(A, f"{A}.jpg")
        assert [len(asked_skus(call)) for call in host.calls] == [100, 20]


def test_a_link_names_the_gallery(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows({"id": A}, status=201))
        assert api.link(P, A) is True
        assert [call.body for call in host.calls] == [{"id": A, "attribute_label": "amazon_images"}]
        assert {call.path for call in host.calls} == {f"/api/v1/products/{P}/assets"}


def test_a_good_answer_to_a_link_that_names_another_asset_is_a_lost_one(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        for row in ({"id": B}, {"id": None}, {"asset": A}):
            host.give(rows(row, status=201))
            with pytest.raises(AnswerLostError, match=A):
                api.link(P, A)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"id": B, "sku": "x", "thumbnail": {"id": A}, "attributes": {"amazon_images": [{"id": A}]}},
        {"id": P, "sku": "x", "attributes": {"amazon_images": [{"id": A}]}},
        {"id": P, "sku": "x", "thumbnail": {"id": A}, "attributes": {}},
        {"id": P, "sku": "x", "thumbnail": {"id": A}, "attributes": {"amazon_images": 7}},
    ],
    ids=["nothing", "another product", "no thumbnail", "no gallery", "a gallery that cannot be read"],
)
def test_a_good_answer_to_a_patch_that_does_not_show_what_was_sent_is_a_lost_one(
    database: sa.Engine, row: dict[str, object]
) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(row))
        with pytest.raises(AnswerLostError):
            api.patch_product(P, gallery=[A], thumbnail=A)


def test_a_product_without_a_label_and_with_assets_as_v2_sends_them_is_read(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database, products_api="v2") as api:
        host.give(rows({**product(1), "label": None, "assets": [{"id": A}, {"id": B}], "thumbnail": [{"id": B}]}))
        found = read_product(api)
        assert (found.sku, found.thumbnail) == (sku(1), B)


def test_a_link_that_is_there_is_neither_an_error_nor_a_new_link(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(refusal(409, f"Asset id {A} is already linked", ("asset.id", "already linked")))
        assert api.link(P, A) is False


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (refusal(404, f"Asset id {A} does not exist", ("asset.id", "asset does not exist")), AssetGoneError, A),
        (refusal(404, "No results", ("id", "product does not exist")), ProductUnfitError, P),
        (refusal(422, "no", ("attribute_label", "label does not exist")), ProductUnfitError, "amazon_images"),
        (refusal(422, "no", ("id", "Missing data for required field.")), WriteRefusedError, "Missing data"),
        (refusal(422, "at most 300 assets"), WriteRefusedError, "at most 300 assets"),
        (refusal(400, "bad"), WriteRefusedError, "bad"),
    ],
)
def test_a_refused_link_says_what_is_not_there(
    database: sa.Engine, answer: bytes, kind: type[Exception], said: str
) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(answer)
        with pytest.raises(kind, match=said):
            api.link(P, A)


def test_a_patch_writes_gallery_and_thumbnail_in_one_call(database: sa.Engine) -> None:
    after = product(1, sku(1), thumbnail={"id": B}, attributes={"amazon_images": [{"id": B}, {"id": A}]})
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(after))
        assert api.patch_product(P, gallery=[B, A], thumbnail=B) == PlytixProduct(P, sku(1), B, (B, A))
        api.patch_product(P, thumbnail=A)
        api.patch_product(P, gallery=[])
        assert [call.body for call in host.calls] == [
            {"attributes": {"amazon_images": [{"id": B}, {"id": A}]}, "thumbnail": {"id": B}},
            {"thumbnail": {"id": A}},
            {"attributes": {"amazon_images": []}},
        ]
        assert (host.calls[0].method, host.calls[0].path) == ("PATCH", f"/api/v1/products/{P}")
        with pytest.raises(ValueError, match="nothing to write"):
            api.patch_product(P)


def test_a_patch_of_v2_does_not_say_what_the_product_holds(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database, products_api="v2", gallery_attribute="pictures") as api:
        host.give(rows({"id": P, "modified": "2026-01-01T00:00:00"}))
        assert api.patch_product(P, gallery=[A]) is None
        assert (host.calls[0].path, host.calls[0].body) == (
            f"/api/v2/products/{P}",
            {"attributes": {"pictures": [{"id": A}]}},
        )


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (refusal(404, " No results found", ("id", "product does not exist")), ProductUnfitError, P),
        (refusal(422, "validation failed", ("amazon_images", "label does not exist")), ProductUnfitError, "check its"),
        (
            refusal(422, "validation failed", ("amazon_images", "asset does not exist")),
            WriteRefusedError,
            "does not exist",
        ),
        (refusal(422, "no", ("thumbnail", {"_schema": ["Invalid input type."]})), WriteRefusedError, "Invalid input"),
    ],
)
def test_a_refused_patch_says_why(database: sa.Engine, answer: bytes, kind: type[Exception], said: str) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(answer)
        with pytest.raises(kind, match=said):
            api.patch_product(P, gallery=[A])


def test_no_path_ends_in_a_slash_and_no_redirect_of_a_write_is_followed(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(http(308, b"", {"Location": f"/api/v1/products/{P}/assets/"}))
        with pytest.raises(RedirectRefusedError):
            api.link(P, A)
        for call in (lambda: api.search_products([sku(1)]), lambda: api.assets_by_id([A])):
            host.give(rows())
            call()
        assert not [call.path for call in host.calls if call.path.endswith("/")]
