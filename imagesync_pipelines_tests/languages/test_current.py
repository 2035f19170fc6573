"""Which language is spoken to whom."""

import threading

import pytest

from imagesync_pipelines.languages import current, speak, speaking
from imagesync_pipelines.languages.current import MARKED, chosen, of_terminal


@pytest.mark.parametrize(
    ("accepted", "choice", "setting", "language"),
    [
        ("", "", "", "en"),
        ("de-DE,de;q=0.9,en;q=0.8", "", "", "de"),
        ("en-GB,en;q=0.9,de;q=0.8", "", "", "en"),
        ("fr-FR,fr;q=0.9,ru;q=0.4,en;q=0.3", "", "", "ru"),
        ("en;q=0.3, de;q=0.7", "", "", "de"),
        ("de;q=0, en;q=0.1", "", "", "en"),
        ("de;q=0", "", "ru", "ru"),
        ("in", "", "", "id"),
        ("ID-id", "", "", "id"),
        ("fr", "", "", "en"),
        ("fr", "", "id", "id"),
        ("*", "", "de", "de"),
        ("fr", "ru", "id", "ru"),
        ("de", "ru", "id", "ru"),
        ("de", "tlh", "", "de"),
        ("de", "", "ru", "de"),
        ("de;q=two,,;;, ru ; q=0.5", "", "", "ru"),
        ("\x00\xff", "../../etc", "xx", "en"),
        ("de", "ru", MARKED, MARKED),
        (MARKED, MARKED, "", "en"),
    ],
)
def test_a_choice_comes_before_the_browser_and_the_browser_before_the_setting(
    accepted: str, choice: str, setting: str, language: str
) -> None:
    assert chosen(accepted, choice, setting) == language


@pytest.mark.parametrize(
    ("environment", "setting", "language"),
    [
        ({}, "", "en"),
        ({"LANG": "de_DE.UTF-8"}, "", "de"),
        ({"LANG": "C.UTF-8"}, "", "en"),
        ({"LANG": "de_DE", "LC_ALL": "C"}, "", "en"),
        ({"LANG": "de_DE", "LC_ALL": "", "LC_MESSAGES": "ru_RU.UTF-8"}, "", "ru"),
        ({"LANG": "id_ID@x"}, "", "id"),
        ({"LANG": "de_DE"}, "id", "id"),
        ({"LANG": "ru"}, "en", "en"),
    ],
)
def test_a_terminal_speaks_what_is_set_else_what_its_variables_say(
    environment: dict[str, str], setting: str, language: str
) -> None:
    assert of_terminal(environment, setting) == language


def test_a_language_is_spoken_within_a_block_and_in_no_other_thread() -> None:
    heard: list[str] = []
    with speaking("de"):
        thread = threading.Thread(target=lambda: heard.append(current()))
        thread.start()
        thread.join()
        with speaking("klingon"):
            heard.append(current())
        heard.append(current())
    assert [*heard, current()] == ["en", "en", "de", "en"]


def test_a_command_speaks_one_language_until_its_end() -> None:
    with speaking("en"):
        speak("ru")
        assert current() == "ru"
    assert current() == "en"
