"""Pictures that are kept for everybody, whole, by their hash."""

import io
from datetime import timedelta

from PIL import Image

from imagesync_pipelines.imaging.validation import check_image
from imagesync_pipelines.storage.contents import OWN_PATH, Contents, own_address, own_source
from imagesync_pipelines_tests.web.catalogue.media import picture
from imagesync_pipelines_tests.web.catalogue.world import Site, World

HOLD = timedelta(days=1)


def test_a_kept_picture_is_served_by_its_hash_and_smaller_copies_are_made_of_it(site: Site, world: World) -> None:
    body = picture()
    facts = check_image(body)
    Contents(world.engine, world.opened.storage).put(own_source(facts.sha256), body, facts, HOLD)
    answer = site.get(OWN_PATH + facts.sha256)
    assert (answer.content, answer.headers["Content-Type"]) == (body, "image/jpeg")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = site.get(OWN_PATH + facts.sha256, **{"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    address = own_address("https://not-reachable.example", facts.sha256)
    image = world.image(world.product("100"), image_url=address, source="folder")
    small = site.get(f"/media/{image}/small", Accept="*/*")
    assert small.headers["Content-Type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(small.content)).size) < 1500


def test_what_is_kept_for_ourselves_or_not_at_all_is_not_served(site: Site, world: World) -> None:
    body = picture()
    facts = check_image(body)
    Contents(world.engine, world.opened.storage).put("moysklad:main:1", body, facts, HOLD)
    assert site.get(OWN_PATH + facts.sha256).status_code == 404
    assert site.get(OWN_PATH + "0" * 64).status_code == 404
    assert site.get(OWN_PATH + "../secret").status_code in (404, 422)
