"""The connectors that take part: one line each."""

from collections.abc import Mapping

from imagesync_pipelines_tests.conformance import edge, folder, image_db, moysklad, plytix
from imagesync_pipelines_tests.conformance.subject import Subject

SUBJECTS: Mapping[str, Subject] = {
    one.name: one for one in (image_db.SUBJECT, edge.SUBJECT, plytix.SUBJECT, moysklad.SUBJECT, folder.SUBJECT)
}
