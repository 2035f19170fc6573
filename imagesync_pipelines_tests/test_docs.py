"""The promises of docs/safety.md: each names the tests that prove it, and every test that is named is there."""

import re

import pytest

from imagesync_pipelines_tests import generated

SAFETY = generated.ROOT / "docs" / "safety.md"
TESTS = generated.ROOT / "imagesync_pipelines_tests"
_NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def promises() -> dict[str, str]:
    """The sections of the page, by their headings."""
    _, *sections = re.split(r"^## ", SAFETY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {section.partition("\n")[0]: section.partition("\n")[2] for section in sections}


@pytest.mark.parametrize("heading", promises())
def test_a_promise_names_tests_that_are_there(heading: str) -> None:
    named = _NAMED.findall(promises()[heading])
    assert named, "no test proves it"
    sources = {file: TESTS / file for file, _ in named}
    assert [file for file, path in sources.items() if not path.exists()] == []
    assert [
        f"{file}::{test}"
        for file, test in named
        if re.search(rf"^def {test}\(", sources[file].read_text(encoding="utf-8"), re.MULTILINE) is None
    ] == []
