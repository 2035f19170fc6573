"""Both payload forms of the earlier system are understood; what is not is set aside with the field's name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.accounts import Mode, MoyskladAccount, MoyskladAccounts, MoyskladChild
from imagesync_pipelines.connectors.moysklad.incoming import names_of, read_payload, read_payloads
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, UnreadableRequest
from imagesync_pipelines.errors import BadBodyError
from imagesync_pipelines_tests.connectors.moysklad.names import ENTITY, MAIN_ID, NAMES, NORTH_ID

ONE: dict[str, Any] = {
    "main_account_id": MAIN_ID,
    "child_account_id": NORTH_ID,
    "parent_entity_type": "product",
    "parent_entity_id": ENTITY,
    "child_entity_id": "0f2c7a1e-aaaa-4bbb-8ccc-0123456789ab",
    "image_url": "https://api.example/download/1",
    "filename": "image.jpg",
}
SEVERAL: dict[str, Any] = {
    **{name: value for name, value in ONE.items() if name not in {"image_url", "filename"}},
    "images": [{"meta": {"downloadHref": "https://api.example/download/1"}, "filename": "image1.jpg"}],
}


def without(payload: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    return {**{name: value for name, value in payload.items() if name not in names}, **more}


@pytest.mark.parametrize(
    ("payload", "child", "kind", "priority"),
    [
        pytest.param(ONE, "north", "product", 50, id="one image"),
        pytest.param(SEVERAL, "north", "product", 50, id="several images"),
        pytest.param({**SEVERAL, "images": []}, "north", "product", 50, id="no image left"),
        pytest.param(
            without(SEVERAL, "parent_entity_type", entity_type="variant"), "north", "variant", 50, id="entity_type"
        ),
        pytest.param({**ONE, "parent_entity_type": "bundle"}, "north", "bundle", 50, id="a bundle"),
        pytest.param(
            {**ONE, "child_account_id": "south", "main_account_id": "main"}, "south", "product", 50, id="alias"
        ),
        pytest.param({**ONE, "child_account_id": NORTH_ID.upper()}, "north", "product", 50, id="capital letters"),
        pytest.param({**ONE, "priority": 80}, "north", "product", 80, id="a priority"),
        pytest.param({**ONE, "parent_entity_id": ENTITY.upper()}, "north", "product", 50, id="an id in capitals"),
    ],
)
def test_a_payload_becomes_a_request(payload: dict[str, Any], child: str, kind: str, priority: int) -> None:
    request = read_payload(payload, NAMES)
    assert isinstance(request, NewRequest)
    assert (request.child, request.entity_type, request.entity_id, request.priority) == (child, kind, ENTITY, priority)
    assert (json.loads(request.payload), request.note) == (payload, "")


def test_unknown_fields_are_kept_wherever_they_are() -> None:
    image = {"meta": {"downloadHref": "https://x/1", "size": 3}, "filename": "a.jpg", "title": "\x00 Стул"}
    payload = {**SEVERAL, "images": [image], "_original_images": [1], "note": None}
    request = read_payload(payload, NAMES)
    assert isinstance(request, NewRequest)
    assert json.loads(request.payload) == payload
    assert "\x00" not in request.payload, "the database cannot keep it"


@pytest.mark.parametrize("name", ONE)
def test_a_payload_that_lacks_a_field_is_set_aside_with_its_name(name: str) -> None:
    payload = without(ONE, name)
    assert read_payload(payload, NAMES) == UnreadableRequest(
        json.dumps(payload, separators=(",", ":")), f"{name} is missing"
    )


IMAGE: dict[str, Any] = SEVERAL["images"][0]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        pytest.param(without(IMAGE, "filename"), "filename is missing", id="no name"),
        pytest.param({**IMAGE, "filename": ""}, "filename: String should have", id="an empty name"),
        pytest.param(without(IMAGE, "meta"), "meta is missing", id="no meta"),
        pytest.param({**IMAGE, "meta": {}}, "meta.downloadHref is missing", id="no link"),
        pytest.param({**IMAGE, "meta": {"downloadHref": None}}, "meta.downloadHref: Input should", id="null as link"),
        pytest.param("image1.jpg", "it is no object with fields", id="a text"),
    ],
)
def test_an_image_that_lacks_its_link_or_its_name_is_skipped_with_the_reason(image: object, why: str) -> None:
    payload = {**SEVERAL, "images": [IMAGE, image, IMAGE]}
    request = read_payload(payload, NAMES)
    assert isinstance(request, NewRequest)
    assert (request.child, request.entity_id) == ("north", ENTITY)
    assert request.note.startswith(f"images.1 is skipped: {why}")
    assert request.note.count("is skipped") == 1, "the others are not"
    assert json.loads(request.payload) == payload


def task(payload: object, **more: Any) -> dict[str, Any]:
    """A row of the earlier system's queue."""
    return {"id": 7, "account_id": NORTH_ID, "entity_type": "image_sync", "payload": payload, "priority": 1, **more}


NAMELESS = without(SEVERAL, "child_account_id")


@pytest.mark.parametrize(
    ("row", "child", "priority"),
    [
        pytest.param(task(NAMELESS), "north", 1, id="an object"),
        pytest.param(task(json.dumps(NAMELESS)), "north", 1, id="JSON text"),
        pytest.param(task(without(ONE, "child_account_id")), "north", 1, id="one image"),
        pytest.param(task({**NAMELESS, "child_account_id": None}), "north", 1, id="null as the child account"),
        pytest.param(
            task({**NAMELESS, "child_account_id": "south"}), "south", 1, id="the payload's own account counts"
        ),
        pytest.param(task({**NAMELESS, "priority": 80}), "north", 80, id="the payload's own priority counts"),
        pytest.param(task(NAMELESS, priority=None), "north", 50, id="no priority"),
    ],
)
def test_a_row_of_the_earlier_queue_names_the_child_account_that_its_payload_does_not(
    row: dict[str, Any], child: str, priority: int
) -> None:
    request = read_payload(row, NAMES)
    assert isinstance(request, NewRequest)
    assert (request.child, request.entity_type, request.entity_id) == (child, "product", ENTITY)
    assert (request.priority, request.note) == (priority, "")
    assert json.loads(request.payload) == row


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        pytest.param({}, "main_account_id is missing; child_account_id is missing; parent_entity_type", id="nothing"),
        pytest.param({**ONE, "parent_entity_type": "service"}, "parent_entity_type: Input should be", id="a service"),
        pytest.param({**ONE, "parent_entity_id": "12"}, "parent_entity_id: Input should be a valid UUID", id="no id"),
        pytest.param({**ONE, "filename": ""}, "filename: ", id="an empty name"),
        pytest.param({**ONE, "image_url": None}, "image_url: ", id="null"),
        pytest.param({**SEVERAL, "images": {"rows": []}}, "images: Input should be a valid list", id="no list"),
        pytest.param({**ONE, "priority": 101}, "priority: ", id="a priority out of range"),
        pytest.param({**ONE, "child_account_id": "e\x00st"}, r"no child account has 'e\x00st' as", id="no such child"),
        pytest.param({**ONE, "child_account_id": "x"}, "there are: north, south, west", id="the children are named"),
        pytest.param({**ONE, "main_account_id": NORTH_ID}, "is not the main account's", id="not the main account"),
        pytest.param(NAMELESS, "child_account_id is missing", id="no child account anywhere"),
        pytest.param(task(NAMELESS, account_id=None), "child_account_id is missing", id="a row without an account"),
        pytest.param(task(NAMELESS, account_id="x"), "no child account has 'x' as", id="a row of no such child"),
        pytest.param(task("{"), "payload: this text is no JSON: ", id="a row whose text was cut"),
        pytest.param(task("[1]"), "payload: a request is an object with fields", id="a row with a list"),
        pytest.param(task(None), "payload: a request is an object with fields", id="a row with null"),
        pytest.param(without(task(NAMELESS), "payload"), "payload is missing", id="a row with none"),
        pytest.param([1], "a request is an object with fields", id="a list"),
        pytest.param("text", "a request is an object with fields", id="a text"),
        pytest.param(None, "a request is an object with fields", id="null instead"),
    ],
)
def test_a_payload_that_makes_no_sense_is_set_aside_with_the_reason(payload: object, said: str) -> None:
    read = read_payload(payload, NAMES)
    assert isinstance(read, UnreadableRequest)
    assert said in read.reason


def test_what_is_nested_too_deeply_is_set_aside() -> None:
    (read,) = read_payloads(b'{"a":' * 400 + b"1" + b"}" * 400, NAMES)
    assert read == UnreadableRequest("", "its fields are nested too deeply to be a request")


@pytest.mark.parametrize(
    ("body", "number"),
    [
        pytest.param(json.dumps(ONE).encode(), 1, id="one"),
        pytest.param(json.dumps([ONE, SEVERAL], indent=2).encode(), 2, id="an array"),
        pytest.param(b"\n".join([json.dumps(ONE).encode(), b"", json.dumps(SEVERAL).encode(), b""]), 2, id="lines"),
        pytest.param(b"[]", 0, id="an empty array"),
    ],
)
def test_one_an_array_and_lines_are_read(body: bytes, number: int) -> None:
    requests = read_payloads(body, NAMES)
    assert [type(request) for request in requests] == [NewRequest] * number


def test_one_that_is_wrong_keeps_no_other_from_the_queue() -> None:
    requests = read_payloads(json.dumps([ONE, without(ONE, "filename"), SEVERAL]).encode(), NAMES)
    assert [type(request) for request in requests] == [NewRequest, UnreadableRequest, NewRequest]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "This is no JSON"),
        (b"{", "This is no JSON"),
        (b"\xff\xd8\xff\xe0", "This is no JSON"),
        (b'{"a":1}\n{"b":\n', "Line 2 is no JSON"),
        (b'{"a":"\\ud800"}', "This is no JSON"),
    ],
    ids=["nothing", "cut off", "a picture", "a line cut off", "half a character"],
)
def test_what_is_no_json_is_refused_with_the_place(body: bytes, said: str) -> None:
    with pytest.raises(BadBodyError, match=said):
        read_payloads(body, NAMES)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*ONE, "images", "entity_type", "priority", "more"]), JSON_VALUES), JSON_VALUES)
def test_whatever_is_sent_is_a_request_or_set_aside_with_words(changed: dict[str, Any], other: object) -> None:
    documents = ({**ONE, **changed}, {**SEVERAL, **changed}, {**SEVERAL, "images": [other]}, other)
    for document in (*documents, task(documents[1]), task(other)):
        read = read_payload(document, NAMES)
        assert isinstance(read, NewRequest) or read.reason
        assert "\x00" not in read.payload


def test_the_accounts_file_names_accounts_by_id_and_alias() -> None:
    token = SecretStr("t")
    north = MoyskladAccount.model_construct(name="north", token=token, account_id=NORTH_ID.upper())
    west = MoyskladAccount.model_construct(name="west", token=token)
    children = {
        "north": MoyskladChild.model_construct(account=north, mode=Mode.FIRST),
        "west": MoyskladChild.model_construct(account=west, mode=Mode.OFF),
    }
    main = MoyskladAccount.model_construct(name="main", token=token, account_id=MAIN_ID)
    names = names_of(MoyskladAccounts("child account", children, main=main))
    assert names.main == {"main", MAIN_ID}
    assert names.children == {NORTH_ID: "north", "north": "north", "west": "west"}
    assert names.active == ("north",)
    assert names_of(MoyskladAccounts("child account")).main == {"main"}
