"""The proof that a full scan saw everything: the one rule of sources that count their rows and list them in pages."""

from collections.abc import Sequence


def why_unproven(counts: Sequence[int], distinct: int, *, rows: str, source: str, illegible: str = "") -> str:
    """Why a scan does not prove to be complete, for people; '' when it does.

    Rows move between pages while somebody works at the source, so a scan proves something only when every page named
    the same count (`counts`, one at least) and exactly that many different keys were read (`distinct`). illegible: what
    is wrong with rows that have no legible key, '' when there are none. rows, source: their names in the sentence, such
    as "photos" and "the API".
    """
    if min(counts) != max(counts):
        return f"the number of {rows} changed while reading, between {min(counts)} and {max(counts)}"
    if illegible:
        return illegible
    if distinct != counts[-1]:
        return f"{distinct} different {rows} were read, but {source} counts {counts[-1]}: some moved between pages"
    return ""
