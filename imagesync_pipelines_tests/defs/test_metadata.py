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
    columns,
    escape_markdown,
    markdown_link,
    markdown_list,
    markdown_table,
    metrics,
    names,
    plain_text,
    row_count,
    safe_url,
    size_bytes,
    table,
)

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


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "//host/x", "https://", "https://user:pw@host/x", "http://[broken", ""],
)
def test_a_link_to_what_a_browser_must_not_open_is_only_its_label(url: str) -> None:
    assert safe_url(url) is None
    assert markdown_link("label", url) == "label"


def test_a_link_cannot_be_left_through_its_url_or_label() -> None:
    link = markdown_link("a](https://evil.example)[b", "https://host/a b)<c>[d]|e")
    targets = [token.attrs["href"] for token in inline_tokens(link) if token.type == "link_open"]
    assert targets == ["https://host/a%20b%29%3Cc%3E%5Bd%5D%7Ce"]


def test_a_markdown_table_stays_inline_and_tells_the_exact_number_of_rows() -> None:
    frame = pd.DataFrame({"sku": [f"SKU-{i:05}" for i in range(5000)], "name": ["A chair <b>"] * 5000})
    text = markdown_table(frame).md_str or ""
    assert len(text) < INLINE_CHARACTERS
    shown = sum(token.type == "tr_open" for token in inline_tokens(text)) - 1
    assert 0 < shown <= 20
    assert f"{shown} of 5,000 rows" in text


def test_a_short_table_is_shown_whole_with_its_links() -> None:
    frame = pd.DataFrame({"image": [markdown_link("front", "https://host/1.jpg")], "why": ["*new*"]})
    tokens = inline_tokens(markdown_table(frame, markdown=["image"]).md_str or "")
    assert [token.attrs["href"] for token in tokens if token.type == "link_open"] == ["https://host/1.jpg"]
    assert "em_open" not in {token.type for token in tokens}


def test_a_list_is_bounded_and_tells_how_many_are_missing() -> None:
    text = markdown_list([f"page {i} failed: " + "x" * 300 for i in range(50)]).md_str or ""
    assert len(text) < INLINE_CHARACTERS
    shown = text.count("- page")
    assert f"and {50 - shown} more" in text


def test_a_plain_table_has_at_most_20_rows_no_nan_and_the_exact_count() -> None:
    frame = pd.DataFrame({"sku": ["a", None] * 15, "n": np.arange(30), "share": [0.5, float("nan")] * 15})
    values = table(frame)
    records = [record.data for record in values["sample"].records]  # type: ignore[attr-defined]
    assert len(records) == 20
    assert records[0] == {"sku": "a", "n": 0, "share": 0.5}
    assert records[1] == {"sku": None, "n": 1, "share": None}
    assert values["dagster/row_count"].value == 30
    assert [column.type for column in values["sample"].schema.columns] == ["string", "int", "float"]  # type: ignore[attr-defined]


def test_metrics_keep_their_kind_and_leave_out_what_cannot_be_plotted() -> None:
    values = metrics({"images/added": np.int64(3), "seconds": 1.5, "broken": float("nan")})  # type: ignore[dict-item]
    assert {name: value.value for name, value in values.items()} == {"images/added": 3, "seconds": 1.5}


def test_the_headline_numbers_have_the_names_the_ui_knows() -> None:
    assert row_count(3)["dagster/row_count"].value == 3
    assert size_bytes(9)["dagster/size_bytes"].value == 9
    schema = columns({"sku": ("string", "the article number")})["dagster/column_schema"].value
    assert schema.columns[0].description == "the article number"  # type: ignore[union-attr]


def test_names_are_bounded_with_an_exact_count() -> None:
    assert names(["a", "b"]) == "a, b"
    assert names(str(i) for i in range(25)).endswith("18, 19 and 5 more")
