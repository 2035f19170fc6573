"""What channels show, noted; and what was measured, kept."""

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.quality.noting import Noted, forget_others, note_pictures
from imagesync_pipelines.quality.storing import measures_of, put_measures
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.sync.channel_picture import ChannelPicture

FIRST = ChannelPicture("A1", "1", True, None, "Shoe", "variant", "https://pictures.example/1", "v1")
SECOND = FIRST._replace(key="2", is_main=False, picture="https://pictures.example/2")
MEASURES = Measures("a" * 64, "JPEG", 1000, 800, 0.5, 0.75, ("left", "top"), 0.25, 0.0, (1 << 64) - 2, ("SALE", "50%"))
_MEASURED = "UPDATE imagesync.channel_picture SET sha256 = 'a', measured_at = now(), problem = :why"
_SCORED = """
INSERT INTO imagesync.picture_score (rule_set, connector, account, code, score, judged_by)
VALUES ('own', 'edge', :account, :code, 50, '1')
"""


def execute(database: sa.Engine, statement: str, **values: object) -> None:
    with database.begin() as connection:
        connection.execute(sa.text(statement), values)


def rows(database: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def known(database: sa.Engine) -> list[tuple[Any, ...]]:
    return rows(database, "SELECT code, key, is_main, sha256, problem FROM imagesync.channel_picture ORDER BY 1, 2")


def scored(database: sa.Engine) -> list[str]:
    return [code for (code,) in rows(database, "SELECT code FROM imagesync.picture_score ORDER BY 1")]


def test_another_version_is_another_picture_and_what_leaves_takes_its_score_with_it(database: sa.Engine) -> None:
    other = FIRST._replace(code="B2")
    assert note_pictures(database, "edge", "hill", [FIRST]) == Noted(1, new=1)
    assert note_pictures(database, "edge", "harbour", iter([FIRST, SECOND, other])) == Noted(3, new=3)
    execute(database, _MEASURED, why="it was broken")
    for code in ("A1", "B2"):
        execute(database, _SCORED, account="harbour", code=code)
    moved = [FIRST._replace(name="Boot", picture="https://elsewhere.example/1"), SECOND, other._replace(version="v2")]
    assert note_pictures(database, "edge", "harbour", moved) == Noted(3, changed=2)
    stays, fresh = ("a", "it was broken"), ("", "")
    mine = [("A1", "1", True, *stays), ("A1", "1", True, *stays), ("A1", "2", False, *stays), ("B2", "1", True, *fresh)]
    assert known(database) == mine
    assert scored(database) == ["A1"]
    # The second picture takes the first one's place.
    swapped = [FIRST._replace(is_main=False), SECOND._replace(is_main=True)]
    assert note_pictures(database, "edge", "harbour", swapped) == Noted(2, changed=2, gone=1)
    assert scored(database) == []
    assert forget_others(database, "edge", ["harbour"]) == 1
    assert [row[:3] for row in known(database)] == [("A1", "1", False), ("A1", "2", True)]


def test_measures_are_read_as_they_were_kept_and_words_stay_where_nobody_looked(database: sa.Engine) -> None:
    other = replace(MEASURES, sha256="b" * 64, hash=1, touched_sides=(), words=None)
    with database.begin() as connection:
        put_measures(connection, [MEASURES, MEASURES, other], "1", "reader 1")
        put_measures(connection, [replace(MEASURES, width=5, words=None)], "2", "")
        assert measures_of(connection, ["a" * 64, "b" * 64, "c" * 64]) == {
            "a" * 64: replace(MEASURES, width=5),
            "b" * 64: other,
        }
    assert rows(database, "SELECT sha256, measured_by, words_by FROM imagesync.picture_measure ORDER BY 1") == [
        ("a" * 64, "2", "reader 1"),
        ("b" * 64, "1", "reader 1"),
    ]


def test_no_two_main_pictures_of_an_account_have_the_same_code(database: sa.Engine) -> None:
    execute(
        database,
        """
        INSERT INTO imagesync.product (kind, erp_id, sku, left_erp_at) VALUES
            ('parent', 'p', 'A1', NULL), ('variant', 'v', 'A1', NULL), ('variant', 'w', 'B2', now());
        INSERT INTO imagesync.product_image (product_id, external_id, image_url, is_primary)
        SELECT id, '7', 'https://catalogue.example/images/content/' || repeat('a', 64), true FROM imagesync.product;
        INSERT INTO imagesync.mirror (connector, account, key, group_key, fingerprint, payload)
        SELECT 'edge', 'harbour', 'photo ' || n, 'product ' || n, '', jsonb_build_object('product_sku', sku, 'size', 9,
               'is_primary', true, 'sort_order', 0, 'checksum', 'c' || n, 'updated_at', '2026-01-01')
          FROM (VALUES (1, 'A1'), (2, 'A1'), (3, ''), (4, 'C3')) AS photos (n, sku);
        """,
    )
    found = {
        name: sorted(connector_named(name).channel_pictures(database, Settings(), account))
        for name, account in (("image_db", ""), ("edge", "harbour"))
    }
    assert [(one.code, one.kind, one.version) for one in found["image_db"]] == [
        ("A1", "parent", f"sha256:{'a' * 64}"),
        ("A1 (variant)", "variant", f"sha256:{'a' * 64}"),
    ]
    assert [one.code for one in found["edge"]] == ["A1 product 1", "A1 product 2", "C3", "product 3"]
    assert found["edge"][2].picture == "at:edge:harbour:c4:photo 4"
    variant = found["image_db"][1].product_id
    assert [one.product_id for one in found["edge"]] == [variant, variant, None, None]


def test_what_is_not_known_by_its_content_is_where_the_last_runs_said(database: sa.Engine) -> None:
    execute(
        database,
        """
        INSERT INTO imagesync.mirror (connector, account, key, group_key, fingerprint, payload)
        VALUES ('moysklad', 'main', 'product:1', 'product:1', '',
                '{"name": "Mug", "code": "", "article": "M-1", "external_code": "x", "images": [
                    {"id": "i1", "permanent_href": "https://links.example/i1"},
                    {"id": "i2", "permanent_href": "https://links.example/i2"}]}');
        INSERT INTO imagesync.moysklad_entity_map (child, entity_key, child_id, field, value)
        VALUES ('shop', 'product:1', 'c1', 'code', 'M-1'), ('shop', 'bundle:2', 'c2', 'code', 'M-2');
        INSERT INTO imagesync.moysklad_child_images (child, entity_key, images, others)
        VALUES ('shop', 'product:1', '[["i2", "a", "b.jpg", 5, ""], ["i1", "c", "d.jpg", 6, ""]]', 0),
               ('shop', 'bundle:2', '[["i1~500", "a", "b.jpg", 5]]', 1);
        INSERT INTO imagesync.handover (connector, account, run_id, step, value)
        VALUES ('plytix', 'pim', 'r', 'images', '{"listings": [
                   ["S1", "", "US", false, [["MAIN", "", "k1.jpg", 1, 1, 1], ["PT01", "", "k2.jpg", 1, 1, 2]], 2],
                   ["S2", "", "US", true, [["MAIN", "", "k2.jpg", 1, 1, 1]], 1], ["S3", "", "US", false, [], 0]]}'),
               ('plytix', 'pim', 'r', 'products', '{"products": [
                   ["p1", "S1", null, [], null], ["p2", "S2", "a9", ["a9"], null], ["p3", "S3", null, [], null]]}');
        INSERT INTO imagesync.plytix_asset (account, asset_id, key, url)
        VALUES ('pim', 'a1', 'k1.jpg', ''), ('pim', 'a2', 'k2.jpg', ''), ('pim', 'a9', NULL, 'https://pim.example/a9');
        INSERT INTO imagesync.plytix_link (account, product_sku, key, asset_id, linked_at)
        VALUES ('pim', 'S1', 'k1.jpg', 'a1', now()), ('pim', 'S2', 'k2.jpg', 'a2', NULL);
        """,
    )
    found = {
        name: sorted(connector_named(name).channel_pictures(database, Settings(), account))
        for name, account in (("moysklad", "shop"), ("plytix", "pim"))
    }
    assert [(one.code, one.key, one.name, one.picture, one.version) for one in found["moysklad"]] == [
        ("M-1", "product:1#i2#0", "Mug", "https://links.example/i2", "i2"),
        ("bundle:2", "bundle:2#i1#0", "", "", "i1~500"),
    ]
    assert [(one.code, one.kind, one.picture, one.version) for one in found["plytix"]] == [
        ("S1", "child", "https://m.media-amazon.com/images/I/k1.jpg", "a1"),
        ("S2", "parent", "https://pim.example/a9", "a9"),
    ]
