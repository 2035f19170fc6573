"""One reading of the main account for all runs that were started together, whatever child account each is for.

What belongs here: keeping such a reading, and finding it. What does not: reading (stages.py).
"""

from collections.abc import Callable

from imagesync_pipelines.accounts.moysklad import MAIN
from imagesync_pipelines.connectors.moysklad.desk import MainDesk
from imagesync_pipelines.connectors.moysklad.notes import MainNote
from imagesync_pipelines.storage.notes import keep_note, read_note

_SHARED = f"{MAIN}/shared"


def read_once(desk: MainDesk, run_id: str, moment: str, read: Callable[[], MainNote]) -> MainNote:
    """The reading that the first of the runs of this moment (any text) made, else this run makes it, and shares it.

    Raises what reading raises; the next run of the moment then tries itself.
    """
    name = "".join(sign if sign.isalnum() else "-" for sign in moment)
    found = read_note(desk.place.storage, _SHARED, name, MainNote)
    if found is not None:
        note = found.model_copy(update={"run_id": run_id, "calls": 0})
        keep_note(desk.place.storage, MAIN, note)
        return note
    note = read()
    keep_note(desk.place.storage, _SHARED, note.model_copy(update={"run_id": name}))
    return note
