"""A file's name has one form, whoever wrote it, and one that is not clear is told as that."""

import unicodedata

import pytest

from imagesync_pipelines.products.file_names import canonical, is_ignored, stem, why_unclear


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("10.jpg", "10.jpg"),
        (unicodedata.normalize("NFD", "Käse/Й.jpg"), "Käse/Й.jpg"),
        (" new / 10.jpg ", "new/10.jpg"),
        ("new.d /10 . jpg", "new.d/10.jpg"),
        ("10\u00a0a.jpg", "10 a.jpg"),
        ("\ufeff10\u200b.jpg\u2009", "10.jpg"),
    ],
)
def test_a_path_has_one_form(path: str, form: str) -> None:
    assert canonical(path) == form
    assert canonical(form) == form


@pytest.mark.parametrize(("path", "name"), [("a/10 .jpg", "10"), ("\u00a010\u00a0.jpg", "10"), ("10", "10")])
def test_a_stem_is_trimmed(path: str, name: str) -> None:
    assert stem(path) == name


@pytest.mark.parametrize(
    ("path", "ignored"), [("._10.jpg", True), ("a/.b/10.jpg", True), ("10.jpg.part", True), ("10.jpg", False)]
)
def test_hidden_and_unfinished_files_are_not_looked_at(path: str, ignored: bool) -> None:
    assert is_ignored(path, 1) is ignored
    assert is_ignored(path, 0)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("10", ""),
        ("10 (1)", "a copy of 10:"),
        ("10(12)", "a copy of 10:"),
        ("10 - Kopie", "a copy of 10:"),
        ("10 - Copy (2)", "a copy of 10:"),
        ("10 копия 2", "a copy of 10:"),
        ("Copy of 10", "a copy of 10:"),
        ("10.jpg", "two endings"),
        ("10.5", ""),
        ("Copybook 7", ""),
        ("known (1)", ""),
    ],
)
def test_a_name_that_is_not_clear_is_told(name: str, why: str) -> None:
    said = why_unclear(name, lambda sku: sku == "known (1)")
    assert why in said
    assert bool(said) is bool(why)
