"""Writing photos: what is stored, what stores are told, and what a failure leaves behind."""

import hashlib
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from imagesync_pipelines.web.head_office import catalogue
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import create_tables, photo, photo_deletion, version
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import Shop


def rows(office: HeadOffice, shop: Shop) -> list[sa.Row]:
    with office.engine.connect() as connection:
        return list(connection.execute(sa.select(photo).where(photo.c.product_id == shop.product)))


def deleted(office: HeadOffice, shop: Shop) -> set[tuple[UUID, UUID]]:
    stores = [shop.store, shop.other_store]
    with office.engine.connect() as connection:
        found = connection.execute(sa.select(photo_deletion).where(photo_deletion.c.store_id.in_(stores)))
        return {(row.store_id, row.photo_id) for row in found}


def stored(office: HeadOffice, shop: Shop) -> dict[str, bytes]:
    listed = office.s3.list_objects_v2(Bucket=office.bucket, Prefix=f"products/{shop.product}/").get("Contents", [])
    return {one["Key"]: office.s3.get_object(Bucket=office.bucket, Key=one["Key"])["Body"].read() for one in listed}


def test_a_photo_is_stored_with_what_its_bytes_say(office: HeadOffice, shop: Shop) -> None:
    photo_id = operators.put_photo(office, shop.product, b"picture", filename="Menu.png", content_type="image/png")
    (row,) = rows(office, shop)
    checksum = hashlib.md5(b"picture").hexdigest()
    assert (row.id, row.size, row.checksum, row.content_type) == (photo_id, 7, checksum, "image/png")
    assert row.object_key.endswith(".png")
    assert stored(office, shop) == {row.object_key: b"picture"}


def test_a_replaced_photo_gets_a_new_id_and_the_old_one_is_reported_as_deleted(office: HeadOffice, shop: Shop) -> None:
    old = operators.put_photo(office, shop.product, b"one", filename="a.jpg")
    new = operators.put_photo(office, shop.product, b"two", filename="a.jpg")
    (row,) = rows(office, shop)
    assert (row.id, row.version) == (new, 2)
    assert deleted(office, shop) == {(shop.store, old), (shop.other_store, old)}
    assert list(stored(office, shop).values()) == [b"two"]


def test_the_old_photo_stays_whole_when_the_new_object_cannot_be_put(office: HeadOffice, shop: Shop) -> None:
    old = operators.put_photo(office, shop.product, b"one", filename="a.jpg")
    office.s3.meta.events.register("before-call.s3.PutObject", _refuse)
    with pytest.raises(RuntimeError, match="disk full"):
        operators.put_photo(office, shop.product, b"two", filename="a.jpg")
    office.s3.meta.events.unregister("before-call.s3.PutObject", _refuse)
    (row,) = rows(office, shop)
    assert row.id == old
    assert stored(office, shop) == {row.object_key: b"one"}
    assert deleted(office, shop) == set()


def _refuse(**_: object) -> None:
    raise RuntimeError("disk full")


def test_an_unknown_product_is_refused_and_nothing_is_written(office: HeadOffice, shop: Shop) -> None:
    with pytest.raises(catalogue.UnknownRowError, match="There is no product"):
        operators.put_photo(office, uuid4(), b"x", filename="a.jpg")
    assert rows(office, shop) == []


def test_a_deleted_photo_is_reported_and_its_object_goes(office: HeadOffice, shop: Shop) -> None:
    photo_id = operators.put_photo(office, shop.product, b"one", filename="a.jpg")
    operators.delete_photo(office, photo_id)
    operators.delete_photo(office, photo_id)
    assert rows(office, shop) == []
    assert deleted(office, shop) == {(shop.store, photo_id), (shop.other_store, photo_id)}
    assert stored(office, shop) == {}


def test_a_hidden_product_is_reported_as_deleted_and_comes_back_with_a_new_stamp(
    office: HeadOffice, shop: Shop
) -> None:
    photo_id = operators.put_photo(office, shop.product, b"one", filename="a.jpg")
    before = rows(office, shop)[0].updated_at
    operators.set_product_active(office, shop.product, active=False)
    assert deleted(office, shop) == {(shop.store, photo_id), (shop.other_store, photo_id)}
    assert rows(office, shop)[0].updated_at == before
    operators.set_product_active(office, shop.product, active=True)
    assert deleted(office, shop) == set()
    assert rows(office, shop)[0].updated_at > before


def test_a_brand_taken_out_of_one_store_is_reported_to_that_store_alone(office: HeadOffice, shop: Shop) -> None:
    photo_id = operators.put_photo(office, shop.product, b"one", filename="a.jpg")
    operators.unlink_brand(office, shop.other_store, shop.brand)
    assert deleted(office, shop) == {(shop.other_store, photo_id)}


def test_one_primary_is_left_and_both_changed_photos_get_a_new_stamp(office: HeadOffice, shop: Shop) -> None:
    first = operators.put_photo(office, shop.product, b"one", filename="a.jpg")
    second = operators.add_photo(office, catalogue.NewPhoto(shop.product, b"two", "b.jpg"), sort_order=1)
    before = {row.id: row.updated_at for row in rows(office, shop)}
    operators.set_primary(office, second)
    assert {row.id: row.is_primary for row in rows(office, shop)} == {first: False, second: True}
    assert all(row.updated_at > before[row.id] for row in rows(office, shop))


def test_a_brand_of_another_company_is_out_of_scope_even_when_linked(office: HeadOffice, shop: Shop) -> None:
    stranger = catalogue.add_company(office, f"Stranger of {shop.company}")
    brand = catalogue.add_brand(office, stranger, "Brand")
    product = operators.add_product(office, brand, "1", "One")
    catalogue.link_brand(office, shop.store, brand)
    photo_id = operators.put_photo(office, product, b"one", filename="a.jpg")
    operators.delete_photo(office, photo_id)
    assert deleted(office, shop) == set()


def test_adding_what_is_there_updates_it(office: HeadOffice, shop: Shop) -> None:
    again = catalogue.add_products(office, shop.brand, {"05018970": "New soup", "2": "Bread"})
    assert again["05018970"] == shop.product
    assert catalogue.add_brand(office, shop.company, "Brand") == shop.brand


def test_tables_are_made_once(office: HeadOffice) -> None:
    create_tables(office.engine)
    with office.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(version)).scalar() == 1


def test_a_store_that_never_saw_the_photo_is_told_nothing(office: HeadOffice, shop: Shop) -> None:
    operators.unlink_brand(office, shop.other_store, shop.brand)
    operators.delete_photo(office, operators.put_photo(office, shop.product, b"one", filename="a.jpg"))
    assert {store for store, _ in deleted(office, shop)} == {shop.store}
