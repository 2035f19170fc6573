"""Records that break the shape that docs/contracts/image_db.md gives: one for each way."""

from copy import deepcopy
from typing import Any

from imagesync_pipelines.sandbox.image_db.catalogue import ImageCatalogue
from imagesync_pipelines.sandbox.image_db.records import MEDIA_ROOT, Record
from imagesync_pipelines.sandbox.image_db.server import Sandbox

LONG = 5000


def odd_records(catalogue: ImageCatalogue) -> dict[str, object]:
    """One record for each way to be odd, by the name of the way; file_ids are new unless the way is about them.

    Deterministic from the catalogue; the catalogue itself is not changed, put them in with
    mutate("insert_record", record=…).
    """
    model = next(record for record in catalogue.records() if record["exported_files"] and record["articles"])
    odd: dict[str, object] = {}
    file_ids = iter(range(990_001, 991_000))

    def fresh() -> Record:
        record: Record = deepcopy(model)
        record["original_file"]["file_id"] = record["original_file"]["db_id"] = next(file_ids)
        return record

    def with_original(way: str, **values: Any) -> None:
        odd[way] = fresh()
        odd[way]["original_file"].update(values)  # type: ignore[index]

    def with_link(way: str, **values: Any) -> None:
        odd[way] = fresh()
        odd[way]["articles"][0].update(values)  # type: ignore[index]

    def with_export(way: str, **values: Any) -> None:
        odd[way] = fresh()
        for export in odd[way]["exported_files"]:  # type: ignore[index]
            export.update(values)

    with_original("file_id null", file_id=None, db_id=None)
    with_original("file_id of another record", file_id=model["original_file"]["file_id"], type="Szene")
    with_original("file_id as text", file_id="950999")
    with_original("file_id differs from db_id", db_id=1)
    with_original("file_id beyond 32 bits", file_id=2**53 + 1)
    with_original("type null", type=None)
    with_original("type in lower case", type="produktfoto")
    with_original("type with NUL", type="Produkt\x00foto")
    with_original("type of 5000 characters", type="T" * LONG)
    with_original("original URL of 5000 characters", file_url=MEDIA_ROOT + "u" * LONG)
    with_original("original URL no URL", file_url="C:\\Bilder\\foto.jpg")
    with_original("imported_at no time", imported_at="gestern")
    with_original("unknown key in the original", rotation=90)
    with_link("number as a whole number", number=803721)
    with_link("number as a fraction", number=803721.0)
    with_link("number with blanks", number=f" {model['articles'][0]['number']}\t")
    with_link("number null", number=None)
    with_link("number empty", number="")
    with_link("number in other digits", number="８０３７２１")
    with_link("number with NUL", number="8037\x0021")
    with_link("variant null", variant=None)
    with_link("front null", front=None)
    with_link("front as text", front="true")
    with_link("stock a fraction", stock=1.5)
    with_link("stock as text", stock="viel")
    with_export("export URL of 5000 characters", image_url=MEDIA_ROOT + "u" * LONG)
    with_export("export URL null everywhere", image_url=None)
    with_export("resolution null everywhere", resolution=None)
    with_export("resolution of one number", resolution=[200])
    with_export("resolution as text", resolution="200x300")
    with_export("resolution zero", resolution=[0, 0])
    with_export("resolution negative", resolution=[-200, 200])
    with_export("created null", created=None)
    with_export("created without zone", created="2025-01-01T10:00:00")
    with_export("file_size negative", file_size=-1.0)
    with_export("export type unknown", type="webp")
    with_export("export id null", id=None)

    odd["null everywhere"] = _all_null(fresh())
    odd["articles null"] = fresh() | {"articles": None}
    odd["articles missing"] = {key: value for key, value in fresh().items() if key != "articles"}
    odd["articles an object"] = fresh() | {"articles": {"number": "803721"}}
    odd["articles with a null"] = fresh() | {"articles": [None]}
    odd["exports null"] = fresh() | {"exported_files": None}
    odd["exports missing"] = {key: value for key, value in fresh().items() if key != "exported_files"}
    odd["exports with a text"] = fresh() | {"exported_files": ["png"]}
    odd["original null"] = fresh() | {"original_file": None}
    odd["original missing"] = {key: value for key, value in fresh().items() if key != "original_file"}
    odd["original a list"] = fresh() | {"original_file": []}
    odd["unknown key"] = fresh() | {"deleted": False}
    odd["record empty"] = {}
    odd["record null"] = None
    odd["record a text"] = "record"
    odd["record a list"] = [1, 2, 3]
    return odd


def insert_odd_records(sandbox: Sandbox) -> None:
    """Spread one record of every odd way over the table.

    One repeats a file_id and some have none, so no full scan of it is provable.
    """
    for nth, record in enumerate(odd_records(sandbox.catalogue).values()):
        sandbox.mutate("insert_record", record=record, position=nth * len(sandbox.catalogue) // 60)


def _all_null(value: Any) -> Any:
    """The same keys with null behind each of them, file_id too."""
    if isinstance(value, dict):
        return {key: _all_null(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_all_null(inner) for inner in value]
    return None
