"""A picture that an account of a connector shows, for who judges pictures beside the synchronisations."""

from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa

_ROWS_AT_ONCE = 2_000
# Before the hash of a content in a version that tells it.
SHA256, MD5 = "sha256:", "md5:"


class ChannelPicture(NamedTuple):
    """A picture that an account shows, as our own tables have it.

    code: what people call what it is a picture of; no two main pictures of an account have the same one. key: of the
    picture, in the connector's words. is_main: it is shown first; else it is one that could take that place.
    product_id: our product, None where it is none of ours. name: of the product. kind: what it is a picture of, in the
    connector's words. picture: its address, or picture_at; '' where nobody can say. version: another one whenever
    another picture may be there; one that begins with SHA256 or MD5 tells what its content is.
    """

    code: str
    key: str
    is_main: bool
    product_id: int | None
    name: str
    kind: str
    picture: str
    version: str


def pictures_by(engine: sa.Engine, query: sa.Executable) -> Iterator[ChannelPicture]:
    """The answer to a query with the columns of a ChannelPicture; its size costs no memory."""
    with engine.connect() as connection:
        for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
            yield ChannelPicture(*row)
