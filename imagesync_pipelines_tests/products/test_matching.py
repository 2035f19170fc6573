"""Article numbers to products: the rules in their order, whole texts only, and what an unmatched number may mean."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.products import matching
from imagesync_pipelines.products.matching import (
    BY_PERSON,
    NO_RULES,
    RULES,
    ArticleRules,
    Matcher,
    Near,
    digest_of,
    match_links,
    may_match,
    may_resemble,
    products_of,
)
from imagesync_pipelines.products.rules import StoredProduct
from imagesync_pipelines.sync.frames import among

PRODUCTS = [
    StoredProduct(1, "parent", "11400", name="Engel"),
    StoredProduct(2, "variant", "803721", 1, "BE", "11400-BE", "11400", "Engel bemalt"),
    StoredProduct(3, "variant", "803722", 1, "BL", "11400-BL", "11400", "Engel blank"),
    StoredProduct(4, "parent", "TM", name="Trommler"),
    StoredProduct(5, "variant", "100002", 4, "BE"),
    StoredProduct(6, "variant", "100003", 4, "BE"),
    StoredProduct(7, "parent", "214808"),
    StoredProduct(8, "variant", "214808", None, "BE"),
    StoredProduct(9, "parent", "9410"),
    StoredProduct(10, "variant", "666666", 1, "OX", in_erp=False),
    StoredProduct(11, "variant", " 777777 ", None, " BE "),
    StoredProduct(12, "parent", "Ta\u0308nzer"),
    StoredProduct(13, "variant", "Größe 7", 12, "GRÜ", "Mu\u0308hle"),
]
MATCHED = {
    "a variant's SKU": ("803721", "BE", 2, "variant sku"),
    "the number names the variant, the code does not": ("803721", "BL", 2, "variant sku"),
    "blanks around": (" 803721 ", " BE ", 2, "variant sku"),
    "a SKU with blanks in the ERP": ("777777", "", 11, "variant sku"),
    "a variant before a parent of the same SKU": ("214808", "BE", 8, "variant sku"),
    "a parent's SKU with a code of its variant": ("11400", "BL", 3, "parent's variant by code"),
    "a parent's SKU with a code that no variant has": ("11400", "ZZ", 1, "parent sku"),
    "a parent's SKU without a code": ("11400", "", 1, "parent sku"),
    "a parent without variants": ("9410", "BE", 9, "parent sku"),
    "a parent's SKU with letters": ("TM", "", 4, "parent sku"),
    "a SKU that a Mac wrote": ("Tänzer", "", 12, "parent sku"),
    "a SKU and a code that a Mac wrote": ("Ta\u0308nzer", "GRU\u0308", 13, "parent's variant by code"),
    "a blank that does not break": ("Gro\u0308ße\u00a07", "", 13, "variant sku"),
    "the code of a variant that left the ERP": ("11400", "OX", 1, "parent sku"),
}


@pytest.mark.parametrize(("number", "variant", "product_id", "rule"), MATCHED.values(), ids=MATCHED.keys())
def test_a_number_finds_its_product_and_says_how(number: str, variant: str, product_id: int, rule: str) -> None:
    match = Matcher(PRODUCTS).match(number, variant)
    assert match.product is not None
    assert (match.product.id, match.rule, match.reason) == (product_id, rule, "")


SAID = {
    ("80372", ""): 2,
    ("TM", "BE"): 5,
    ("11401", ""): 1,
    ("803721", ""): 3,
    ("Größe 9", ""): 13,
    ("1", ""): 10,
    ("TM2", ""): 4,
}
BY_RULE: dict[str, tuple[str, str, int | None]] = {
    "a number that no product has": ("80372", "", 2),
    "with any code": ("80372", "ZZ", 2),
    "a code that several variants have": ("TM", "BE", 5),
    "another number of a parent, with a code of its variant": ("11401", "BL", 3),
    "with a code that no variant has": ("11401", "ZZ", 1),
    "a person's word goes before a SKU": ("803721", "BE", 3),
    "as a Mac writes it": ("Gro\u0308ße\u00a09", "", 13),
    "a product that left the ERP": ("1", "", None),
    "a parent of which several variants have the code": ("TM2", "BE", None),
    "of another code nothing was said": ("TM", "ZZ", 4),
}


@pytest.mark.parametrize(("number", "variant", "product_id"), BY_RULE.values(), ids=BY_RULE.keys())
def test_a_persons_rule_says_which_product_a_number_is(number: str, variant: str, product_id: int | None) -> None:
    match = Matcher(PRODUCTS, SAID).match(number, variant)
    assert (match.product.id if match.product else None) == product_id
    assert (match.rule == BY_PERSON) == (product_id not in (None, 4))
    plain = Matcher(PRODUCTS).match(number, variant)
    assert plain.product is None or plain.product.id != product_id or product_id == 4


UNMATCHED = {
    "empty": ("", "BE", "no article number"),
    "blanks": ("  ", "", "no article number"),
    "trap 9: a prefix of a SKU": ("80372", "BE", "no product 80372"),
    "trap 9: a SKU is its prefix": ("8037210", "BE", "no product 8037210"),
    "trap 9: number and variant joined": ("11400-BE", "", "no product 11400-BE"),
    "trap 9: a number that pandas made a float": ("803721.0", "BE", "no product"),
    "another case": ("tm", "", "no product tm"),
    "a product that left the ERP": ("666666", "OX", "no longer in the ERP"),
    "two variants of one code": ("TM", "BE", "several variants with the code BE: 100002, 100003"),
}


@pytest.mark.parametrize(("number", "variant", "reason"), UNMATCHED.values(), ids=UNMATCHED.keys())
def test_a_number_without_a_product_says_why(number: str, variant: str, reason: str) -> None:
    match = Matcher(PRODUCTS).match(number, variant)
    assert match.product is None
    assert reason in match.reason


NEAREST = {
    "a digit too few": ("80372", "", ["803721", "803722"]),
    "two digits swapped": ("803271", "", ["803721"]),
    "the legacy SKU": ("11400-BL", "", ["803722"]),
    "the legacy SKU in other characters": ("Mühle", "", ["Größe 7"]),
    "number and variant make a legacy SKU": ("11400", "BE", ["803721", "803722", "11400"]),
    "two neighbours differ but are not swapped": ("803371", "", []),
    "more than one slip": ("873201", "", []),
    "the number of a product that left the ERP": ("666666", "", []),
    "nothing like it": ("55555555", "", []),
    "nothing": ("", "BE", []),
}


@pytest.mark.parametrize(("number", "variant", "skus"), NEAREST.values(), ids=NEAREST.keys())
def test_the_nearest_candidates_of_a_number(number: str, variant: str, skus: list[str]) -> None:
    assert [near.sku for near in Matcher(PRODUCTS).nearest(number, variant)] == skus


def test_a_candidate_comes_with_its_name_and_why() -> None:
    assert Matcher(PRODUCTS).nearest("11400-BL")[0] == Near("803722", "Engel blank", "11400-BL is its old number")


@given(
    st.permutations(PRODUCTS),
    st.sampled_from(["803721", "11400", "TM", "80372", "11400-BE"]),
    st.sampled_from(["", "BE"]),
)
def test_the_order_of_the_products_does_not_matter(products: list[StoredProduct], number: str, variant: str) -> None:
    assert Matcher(products).match(number, variant) == Matcher(PRODUCTS).match(number, variant)
    assert Matcher(products).nearest(number, variant) == Matcher(PRODUCTS).nearest(number, variant)


def test_at_most_three_candidates_are_given_however_many_are_alike() -> None:
    matcher = Matcher(StoredProduct(number, "variant", str(100000 + number)) for number in range(20000))
    near = matcher.nearest("1100057")
    assert [one.sku for one in near] == ["100057", "110005", "110007"]


CATALOGUE = pd.DataFrame(PRODUCTS, columns=StoredProduct._fields).astype({"parent_id": "Int64"})


@given(
    st.lists(
        st.sampled_from([*MATCHED.values(), *UNMATCHED.values(), *NEAREST.values(), *BY_RULE.values()]), min_size=1
    ),
    st.sampled_from([NO_RULES, SAID]),
)
def test_the_products_that_may_matter_give_the_same_answers_as_all_of_them(
    asked: list[tuple], rules: ArticleRules
) -> None:
    links = [(number, variant) for number, variant, *_ in asked]
    few = Matcher(products_of(may_match(CATALOGUE, [number for number, _ in links], rules)), rules)
    near = Matcher(products_of(may_resemble(CATALOGUE, links)))
    numbers, variants = (pd.Series(column, dtype="str") for column in zip(*links, strict=True))
    many = match_links(CATALOGUE, numbers, variants, rules)
    for (number, variant), product_id, rule in zip(links, many.product_ids, many.rules, strict=True):
        match = Matcher(PRODUCTS, rules).match(number, variant)
        assert (product_id, RULES[rule]) == ((match.product.id, match.rule) if match.product else (0, RULES[0]))
        assert many.reasons.get((number, variant), "") == match.reason
        assert few.match(number, variant) == match
        assert near.nearest(number, variant) == Matcher(PRODUCTS).nearest(number, variant)


def test_few_products_of_a_large_catalogue_may_matter() -> None:
    many = pd.DataFrame(
        [StoredProduct(number, "variant", str(100000 + number)) for number in range(5000)],
        columns=StoredProduct._fields,
    )
    assert len(may_match(many, ["100007", "1"])) == 1
    alike = set(may_resemble(many, [("10007", "")])["sku"])
    assert {"100007", "100070", "104007"} < alike
    assert len(alike) < 40


def test_of_the_slips_of_many_numbers_few_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    links = [(number, variant) for number, variant, *_ in [*UNMATCHED.values(), *NEAREST.values()]]
    whole, held = may_resemble(CATALOGUE, links), list[int]()
    monkeypatch.setattr(matching, "among", lambda values, members: held.append(len(members)) or among(values, members))
    monkeypatch.setattr(matching, "_SLIPS_AT_A_TIME", 7)
    pd.testing.assert_frame_equal(may_resemble(CATALOGUE, links), whole)
    assert max(held) <= 2 * len(links)


@pytest.mark.parametrize("name", StoredProduct._fields)
def test_whatever_changes_of_a_product_changes_the_digest_of_all(name: str) -> None:
    products = pd.DataFrame(PRODUCTS).astype({"parent_id": "Int64", "variant_code": "str", "legacy_sku": "str"})
    other = {"id": 99, "parent_id": 99, "in_erp": True}.get(name, "other")
    at = products.index[products["sku"] == "666666"]
    changed = products.copy()
    changed.loc[at, name] = other
    assert digest_of(products) == digest_of(products.copy())
    assert digest_of(changed) != digest_of(products)
