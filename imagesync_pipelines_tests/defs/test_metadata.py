"""Metadata for the UI is bounded, exact in its counts, and foreign text stays text."""

import re
import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from imagesync_pipelines.defs.metadata import (
    INLINE_CHARACTERS,
    escape_markdown,
    markdown_list,
    markdown_table,
    metrics,
    names,
    plain_text,
    result_metadata,
)
from imagesync_pipelines.sync.steps import StepResult

# What GitHub's Markdown turns into links by itself, after escapes were resolved.
BARE_LINK = re.compile(r"(?i)https?://[-.\w]|www\.[-.\w]|[-.\w+]+@[-\w]+\.[-\w]+")

HOSTILE = [
    "[click](https://evil.example)",
    "![x](https://evil.example/p.png)",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "**bold** _and_ `code` ~~gone~~",
    "https://evil.example/x",
    "www.evil.example",
    "mail@evil.example",
    "a | b | c",
    "a \\| b \\\\| c",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "&lt;b&gt; &#60;b&#62;",
    "[ref]: https://evil.example",
    "line\n\n# next",
    "```\ncode\n```",
    "<https://evil.example>",
    "Setext\n===",
]


def inline_tokens(markdown: str) -> list[Token]:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found: list[Token] = []
    for token in parser.parse(markdown):
        found.append(token)
        found.extend(token.children or [])
    return found


def shown_text(markdown: str) -> str:
    tokens = [token for token in inline_tokens(markdown) if token.type in {"text", "text_special"}]
    return "".join(token.content for token in tokens)


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_becomes_nothing_but_text(text: str) -> None:
    kinds = {token.type for token in inline_tokens("- " + escape_markdown(text))}
    assert kinds <= {
        "bullet_list_open", "list_item_open", "paragraph_open", "inline", "text", "text_special",
        "paragraph_close", "list_item_close", "bullet_list_close",
    }  # fmt: skip
    assert not BARE_LINK.search(shown_text(escape_markdown(text)))


@given(st.text(alphabet=string.printable + "äé|\\", max_size=60))
def test_any_text_is_shown_as_it_is(text: str) -> None:
    shown = shown_text(escape_markdown(text)).replace("\u2060", "")
    assert shown == plain_text(text)


@given(st.text(max_size=200))
def test_any_text_stays_in_its_table_cell(text: str) -> None:
    frame = pd.DataFrame({"a": [text], "b": ["end"]})
    tokens = inline_tokens(markdown_table(frame).md_str or "")
    assert sum(token.type == "td_open" for token in tokens) == 2
    assert not {"link_open", "image", "html_inline", "html_block"} & {token.type for token in tokens}


def test_direction_changing_characters_are_left_out() -> None:
    assert plain_text("ab\u202ecd\x00e\u200b") == "abcde"


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT])
def test_a_missing_value_is_an_empty_cell(value: object) -> None:
    assert plain_text(value) == ""


def test_a_markdown_table_stays_inline_and_tells_the_exact_number_of_rows() -> None:
    frame = pd.DataFrame({"sku": [f"SKU-{i:05}" for i in range(5000)], "name": ["A chair <b>"] * 5000})
    text = markdown_table(frame).md_str or ""
    assert len(text) < INLINE_CHARACTERS
    shown = sum(token.type == "tr_open" for token in inline_tokens(text)) - 1
    assert 0 < shown <= 20
    assert f"{shown} of 5,000 rows" in text


def test_a_short_table_is_shown_whole() -> None:
    frame = pd.DataFrame({"image": ["front", "back"], "why": ["*new*", None]})
    text = markdown_table(frame).md_str or ""
    tokens = inline_tokens(text)
    assert sum(token.type == "td_open" for token in tokens) == 4
    assert "em_open" not in {token.type for token in tokens}
    assert text.endswith("\n2 rows")


def test_a_list_is_bounded_and_tells_how_many_are_missing() -> None:
    text = markdown_list([f"page {i} failed: " + "x" * 300 for i in range(50)]).md_str or ""
    assert len(text) < INLINE_CHARACTERS
    shown = text.count("- page")
    assert f"and {50 - shown} more" in text


def test_metrics_keep_their_kind_and_leave_out_what_cannot_be_plotted() -> None:
    values = metrics({"images/added": np.int64(3), "seconds": 1.5, "broken": float("nan")})  # type: ignore[dict-item]
    assert {name: value.value for name, value in values.items()} == {"images/added": 3, "seconds": 1.5}


def test_the_headline_numbers_have_the_names_the_ui_knows() -> None:
    told = result_metadata(StepResult(rows=3, size=9, columns={"sku": ("string", "the article number")}))
    assert told["dagster/row_count"].value == 3
    assert told["dagster/size_bytes"].value == 9
    schema = told["dagster/column_schema"].value
    assert schema.columns[0].description == "the article number"  # type: ignore[union-attr]


def test_names_are_bounded_with_an_exact_count() -> None:
    assert names(["a", "b"]) == "a, b"
    assert names(str(i) for i in range(25)).endswith("18, 19 and 5 more")
