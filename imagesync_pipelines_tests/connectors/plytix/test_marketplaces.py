"""Pictures of one country never go to products of another: a marketplace is known, or what names it is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.plytix.errors import MappingError
from imagesync_pipelines.connectors.plytix.mapping import read_mapping
from imagesync_pipelines.connectors.plytix.model import ListingsRead
from imagesync_pipelines.connectors.plytix.rules import EUROPE, FAR_EAST, MARKETPLACES, known_marketplace
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines_tests.connectors.plytix.accounts import open_connector

ASIN, OTHER = "B07X8Z63ZL", "B077QMJFG9"
UNKNOWN = ["A1NEWPLACEID00", "XX", "Atlantis", "amazon.zz", "FRA", 7]
# What the exporter of the original writes (docs: contracts, amazon.md), with its ids.
EXPORTED = {
    "US": "ATVPDKIKX0DER", "CA": "A2EUQ1WTGCTBG2", "MX": "A1AM78C64UM0Y8", "BR": "A2Q3Y263D00KWC",
    "UK": "A1F83G8C2ARO7P", "DE": "A1PA6795UKMFR9", "FR": "A13V1IB3VIYZZH", "IT": "APJ6JRA9NG5V4",
    "ES": "A1RKKUPIHCS9HS", "NL": "A1805IZSGTT6HS", "SE": "A2NODRKZP88ZB9", "PL": "A1C3SOZRARQ6R3",
    "TR": "A33AVAJ2PDY3EV", "BE": "AMEN7PMS3EDWL", "AE": "A2VIGQ35RCS4UG", "SA": "A17E79C6D8DWNP",
    "EG": "ARBP9OOSHTCHU", "IN": "A21TJRUUN4KGV", "JP": "A1VC38T7YXB528", "AU": "A39IBJ37TRP1C6",
    "SG": "A19VAU5U5O7RUS",
}  # fmt: skip
named = st.none() | st.sampled_from([*EXPORTED, *EXPORTED.values(), *map(str, UNKNOWN)])


def read(metadata: object, *entries: dict[str, Any]) -> ListingsRead:
    return read_mapping(json.dumps({"metadata": metadata, "variants": list(entries)}).encode(), "mapping.json")


def entry(asin: str = ASIN, **fields: object) -> dict[str, Any]:
    return {"amazon_asin": asin, **fields}


def summary(marketplace: object) -> dict[str, Any]:
    return {"_raw_summary": {"marketplaceId": marketplace, "brandName": "x"}}


@pytest.mark.parametrize("country", sorted(EXPORTED))
def test_a_marketplace_that_the_exporter_writes_is_read_at_every_level(country: str) -> None:
    amazon_id, sku = EXPORTED[country], f"AMZN-{country}-{ASIN}"
    known = MARKETPLACES[country]
    levels = [
        ({"marketplace_id": amazon_id}, entry()),
        ({"marketplace": known.name}, entry()),
        ({"marketplace": known.site.capitalize()}, entry()),
        ({}, entry(**summary(known.site))),
        ({"marketplace": country.lower()}, entry()),
        ({}, entry(marketplace=amazon_id)),
        ({}, entry(marketplace=country)),
        ({}, entry(suggested_sku=sku)),
        ({}, entry(**summary(amazon_id))),
    ]
    files = [read(metadata, fields) for metadata, fields in levels]
    found = [(file.items[0].sku, file.warnings, file.items[0].marketplace) for file in files]
    assert found == [(sku, (), country)] * len(levels)


def test_all_marketplaces_are_known_once_with_their_hosts() -> None:
    assert len({one.id for one in MARKETPLACES.values()}) == len(MARKETPLACES) == 23
    assert {country: one.id for country, one in MARKETPLACES.items() if country in EXPORTED} == EXPORTED
    assert (MARKETPLACES["EG"].host, MARKETPLACES["IN"].host, MARKETPLACES["SG"].host) == (EUROPE, EUROPE, FAR_EAST)
    assert [known_marketplace(text) for text in ("gb", " uk ", "zz", "")] == ["UK", "UK", None, None]
    names = [word.upper() for one in MARKETPLACES.values() for word in (one.id, one.country, one.name, one.site)]
    assert len(set(names)) == 4 * len(MARKETPLACES), "no name stands for two"


@pytest.mark.parametrize("level", ["marketplace", "marketplace_id"])
@pytest.mark.parametrize("unknown", UNKNOWN)
def test_a_file_of_an_unknown_marketplace_is_refused(level: str, unknown: object) -> None:
    with pytest.raises(MappingError, match=rf"^mapping.json: {level} '{unknown}' is unknown; .*nothing was changed"):
        read({level: unknown}, entry(marketplace="US"))


def test_a_file_whose_metadata_names_two_marketplaces_is_refused() -> None:
    with pytest.raises(MappingError, match="'US' and marketplace_id 'A13V1IB3VIYZZH' of its metadata are not the same"):
        read({"marketplace": "US", "marketplace_id": EXPORTED["FR"]}, entry())
    assert read({"marketplace": "UK", "marketplace_id": EXPORTED["UK"]}, entry()).items[0].marketplace == "UK"


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_an_entry_of_an_unknown_marketplace_is_set_aside_whatever_else_is_named(unknown: object) -> None:
    bad = [entry(marketplace=unknown), entry(marketplace="US", **summary(unknown)), entry(**summary(unknown))]
    file = read({"marketplace": "US"}, *bad, entry(OTHER))
    assert [item.sku for item in file.items] == [f"AMZN-US-{OTHER}"]
    assert [aside.where for aside in file.set_aside] == ["variants[0]", "variants[1]", "variants[2]"]
    assert all(f"'{unknown}' is unknown" in aside.reason for aside in file.set_aside)


def test_a_product_of_an_unknown_marketplace_is_set_aside() -> None:
    file = read({}, entry(suggested_sku=f"AMZN-ZZ-{ASIN}"), entry(OTHER, marketplace="FR"))
    assert [item.sku for item in file.items] == [f"AMZN-FR-{OTHER}"]
    assert "'ZZ' is unknown" in file.set_aside[0].reason


def test_where_levels_differ_the_entry_holds_and_the_difference_is_told() -> None:
    file = read({"marketplace": "US"}, entry(marketplace="FR", **summary(EXPORTED["DE"])), entry(OTHER))
    assert [item.sku for item in file.items] == [f"AMZN-FR-{ASIN}", f"AMZN-US-{OTHER}"]
    assert file.warnings == (
        "mapping.json: 1 entries name another marketplace than what is above or below them, and the entry holds; the "
        "first, variants[0]: it is of FR, though its _raw_summary names DE and the file names US.",
    )


def test_a_summary_speaks_for_its_entry_against_the_file_and_it_is_told() -> None:
    file = read({"marketplace_id": EXPORTED["US"]}, entry(**summary(EXPORTED["FR"])))
    assert file.items[0].sku == f"AMZN-FR-{ASIN}"
    assert "variants[0]: it is of FR, though the file names US." in file.warnings[0]


def test_a_file_that_names_no_marketplace_at_any_level_is_of_the_us_and_that_is_told() -> None:
    nothing = [{}, {"marketplace": None}, {"marketplace": "", "marketplace_id": " "}, {"marketplace": float("nan")}]
    for metadata in nothing:
        file = read(metadata, entry(marketplace=None, _raw_summary=None), entry(OTHER))
        assert [item.marketplace for item in file.items] == ["US", "US"]
        assert file.warnings == (
            "mapping.json: it names no marketplace anywhere, so its products are taken for those of US.",
        )


def test_an_entry_without_a_marketplace_is_set_aside_where_others_name_one() -> None:
    file = read({}, entry(marketplace="FR"), entry(OTHER))
    assert [item.sku for item in file.items] == [f"AMZN-FR-{ASIN}"]
    assert file.set_aside[0].reason == "it names no marketplace, and neither does the file, though other entries do"


@given(named, named, named)
def test_nothing_is_read_as_a_marketplace_that_no_level_names(
    file: str | None, one: str | None, low: str | None
) -> None:
    levels = [level for level in (one, low, file) if level]
    countries = [known_marketplace(level) for level in levels]
    try:
        found = read({"marketplace": file}, entry(marketplace=one, **summary(low)))
    except MappingError:
        assert None in countries
        return
    assert None not in countries
    assert found.items[0].marketplace == (countries or ["US"])[0]
    assert bool(found.warnings) == (len(set(countries)) != 1)


def test_french_pictures_never_reach_products_of_the_us(database: sa.Engine, tmp_path: Path) -> None:
    with open_connector(database, tmp_path, listings=demo_listings()[10:14]) as connector:
        document = json.loads(connector.mapping.read_text())
        document["metadata"] |= {"marketplace": "A1NEWPLACEID00"}
        for part in ("matched", "unmatched_amazon"):
            for one in document[part]:
                one.pop("marketplace", None)
                one.pop("suggested_sku", None)
        connector.mapping.write_text(json.dumps(document))
        with pytest.raises(MappingError, match="'A1NEWPLACEID00' is unknown"):
            connector.sync()
        assert (connector.calls(), connector.plytix.assets()) == (0, ())
        document["metadata"] |= {"marketplace": EXPORTED["FR"]}
        connector.mapping.write_text(json.dumps(document))
        connector.sync()
        assert not any(gallery for gallery, _ in connector.shown().values())


def test_a_run_and_a_cleanup_tell_what_they_took_for_the_us(database: sa.Engine, tmp_path: Path) -> None:
    with open_connector(database, tmp_path, listings=demo_listings()[10:14]) as connector:
        document = {"matched": [entry(listing.asin) for listing in connector.amazon.listings]}
        connector.mapping.write_text(json.dumps(document))
        chosen = connector.choose("run")
        with connector.api() as api:
            made = connector.look_for_gone(api, "cleanup")
        said = "mapping.json: it names no marketplace anywhere, so its products are taken for those of US."
        assert said in chosen.warnings
        assert said in made.summary.warnings
        with pytest.raises(SettingsError, match="no marketplace 'XX'"):
            connector.choose("run", marketplace="XX")
