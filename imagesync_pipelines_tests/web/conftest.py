"""What all applications of these tests share: hundreds of tests have one of their own."""

from collections.abc import Iterator
from functools import partialmethod
from typing import Any

import jinja2
import pytest
from fastapi.routing import _IncludedRouter
from jinja2.bccache import Bucket


class CompiledTemplates(jinja2.BytecodeCache):
    """Templates as this process compiled them, by their name, file and text."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give what is kept of a template, if anything."""
        kept = self.kept.get((bucket.key, bucket.checksum))
        if kept is not None:
            bucket.bytecode_from_string(kept)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template."""
        self.kept[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def _templates_compiled_once() -> Iterator[None]:
    """Compiling those of one page takes a tenth of a second."""
    made = partialmethod(jinja2.Environment.__init__, bytecode_cache=CompiledTemplates())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "__init__", made)
        yield


@pytest.fixture(scope="session", autouse=True)
def _routes_made_once() -> Iterator[None]:
    """What FastAPI works out of a route's parameters when an application gets its first call, by how it is included."""
    make, kept = _IncludedRouter._build_effective_context, dict[object, tuple[object, Any]]()

    def known(self: _IncludedRouter, route: Any) -> Any:
        at = self.include_context
        needs = tuple(one.dependency for one in at.dependencies)
        key = (id(route), at.prefix, needs, at.include_in_schema, at.deprecated, at.max_body_size)
        if key not in kept:
            # The route is kept too, so that its id stays its own.
            kept[key] = (route, make(self, route))
        return kept[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_IncludedRouter, "_build_effective_context", known)
        yield
