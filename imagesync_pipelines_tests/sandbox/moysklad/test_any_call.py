"""Proves that no body, query or path breaks the server: every refusal is an answer of МойСклад."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.sandbox.moysklad.app import DOORS
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox
from imagesync_pipelines.sandbox.routes import Door
from imagesync_pipelines_tests.sandbox.moysklad.callers import BETA, Caller

NAMES = (
    *("meta", "href", "images", "rows", "filename", "content", "name", "product", "syncId", "barcodes", "archived"),
    *("entityType", "action", "url", "enabled"),
)
WORDS = st.sampled_from(["", "a.jpg", "eA==", "UPDATE", "product", "http://x/entity/product/1/images/2", "\ud800"[:0]])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["id", "updated", "name", "archived", "type", "barcode", "productid", "x"])
SIGNS = st.sampled_from(["=", "!=", ">", ">=", "<", "<=", "~", "~=", "=~", "!~", ""])
VALUES = st.text(max_size=5) | st.sampled_from(["true", "2026-10-05 09:00", "product", "\\;"])
FILTER = st.lists(st.tuples(FIELDS, SIGNS, VALUES).map("".join), max_size=3).map(";".join)
QUERY = st.fixed_dictionaries(
    {},
    optional={
        "filter": FILTER,
        "order": st.sampled_from(["id", "name,desc;id", "pathName", "x", "name,up"]),
        "limit": st.sampled_from(["1", "100", "1000", "-1", "x", "²"]),
        "offset": st.sampled_from(["0", "5", "x"]),
        "expand": st.sampled_from(["images", "product,images", "x"]),
        "fields": st.sampled_from(["downloadPermanentHref", "x", "a,b"]),
        "miniature": st.just("true"),
    },
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(door=st.sampled_from(DOORS), kind=st.sampled_from(["product", "variant", "bundle"]), query=QUERY, body=JUNK)
def test_no_call_whatever_breaks_an_endpoint(
    shared: MoyskladSandbox, door: Door, kind: str, query: dict[str, str], body: object
) -> None:
    shared.clock.move(3)
    shared.counters.lift("main")
    account = shared.account("main")
    product = account.add_product("Подушка")
    ids = {"product": product, "variant": account.add_variant(product, "мох"), "bundle": account.add_bundle("Набор")}
    path = door.path
    for names in ("product|bundle|variant|service", "product|bundle|variant"):
        path = path.replace(names, kind)
    path = path.replace("{entity}", ids[kind]).replace("{image}", ids[kind]).replace("{webhook}", ids[kind])
    options = {} if body is None else {"json": body}
    answer = Caller(shared).ask(door.method, path, params=query, headers=BETA, **options)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and answer.content and door.method != "HEAD":
        errors = answer.json()
        for one in errors if isinstance(errors, list) else [errors]:
            assert "errors" not in one or isinstance(one["errors"][0]["error"], str)
