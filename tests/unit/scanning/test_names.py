"""scanning/names.py: names that look alike are one, and a text mentions a name as a whole word only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.tool_name_validation import validate_tool_name

from ext_proc.scanning.names import NameIndex, is_plain, mixes_scripts, references, skeleton


@pytest.mark.parametrize(
    "other",
    [
        "delete-file",
        "delete.file",
        "delete/file",
        "delete file",
        "delete__file",
        "Delete_File",
        "de1ete_file",
        "deIete_file",
        "delete_fi|e",
        "d\u0435lete_file",  # Cyrillic
        "d\u03b5lete_file",  # Greek
        "\uff44\uff45\uff4c\uff45\uff54\uff45\uff3f\uff46\uff49\uff4c\uff45",  # fullwidth
        "\U0001d41delete_file",  # mathematical
        "d\u00e9lete_file",
        "de\u0301lete_file",
        "delete_\u200bfile",
        "delete\u2010file",
    ],
)
def test_names_that_look_alike_have_one_skeleton(other: str) -> None:
    assert skeleton(other) == skeleton("delete_file")


@pytest.mark.parametrize(("one", "other"), [("modern", "rnodern"), ("row", "rovv"), ("list_0", "list_o"), ("l1", "il")])
def test_letters_that_run_together_look_alike(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize("other", ["delete_files", "deletefile", "delete", "file_delete", "delete_fil", "select_file"])
def test_names_that_differ_to_the_eye_differ(other: str) -> None:
    assert skeleton(other) != skeleton("delete_file")


@given(st.text())
def test_a_skeleton_is_its_own_skeleton(name: str) -> None:
    assert skeleton(skeleton(name)) == skeleton(name)


@given(st.from_regex(r"[A-Za-z0-9_.-]{0,140}", fullmatch=True) | st.text(max_size=5))
def test_plain_names_are_those_of_the_official_sdk_and_the_slash(name: str) -> None:
    assert is_plain(name) == validate_tool_name(name.replace("/", "_")).is_valid


@pytest.mark.parametrize("name", ["", "a" * 129, "a b", "a,b", "\u0430", "a\n", "a\u200b"])
def test_other_names_are_not_plain(name: str) -> None:
    assert not is_plain(name)


@pytest.mark.parametrize(
    ("name", "mixes"),
    [
        ("delete_file_2", False),
        ("\u0443\u0434\u0430\u043b\u0438\u0442\u044c", False),
        ("d\u0435lete", True),
        ("\u03b1\u0431", True),
        ("get_\u0442\u0435\u043c\u043f", True),
        ("\u30c7\u30fc\u30bf\u3092_get_\u65e5\u3005", False),
        ("\uff44elete", False),
        ("123", False),
        ("", False),
    ],
)
def test_scripts_that_nobody_writes_together_are_told(name: str, mixes: bool) -> None:
    assert mixes_scripts(name) is mixes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Call read_file first.", {"read_file"}),
        ("Call READ_FILE, then write-file.", {"read_file", "write-file"}),
        ("See files.read_file or files/read_file or mcp__files__read_file.", {"read_file"}),
        ("Either read_file/write-file.", {"read_file", "write-file"}),
        ("Sends what sendMail sends.", {"sendMail"}),
        ("re\u200bad_file", {"read_file"}),
        ("\uff52ead_file", {"read_file"}),
        ("my_read_file and read_files", set()),
        ("Searches the web; search results are paged.", set()),
        ("Use `search` for it.", {"search"}),
        ("Use \u201csearch\u201d for it.", {"search"}),
        ("Use search(query).", {"search"}),
        ("Use the search tool.", {"search"}),
        ("Use the tool search.", {"search"}),
        ("This is a tool. Search with care.", set()),
        ("Open the door before you go.", set()),
        ("Use the tool open the door.", {"open the door"}),
        ("", set()),
    ],
)
def test_a_name_is_mentioned_as_a_whole_word(text: str, found: set[str]) -> None:
    assert references(text, ["read_file", "write-file", "sendMail", "search", "open the door", "", "..."]) == found


def test_names_that_are_one_without_case_are_both_mentioned() -> None:
    assert references("read_file", ["read_file", "Read_File"]) == {"read_file", "Read_File"}


def test_thousands_of_names_are_looked_for_at_once() -> None:
    names = NameIndex(f"tool_{number}" for number in range(5000))
    assert names.mentioned_in("tool_17, tool_4999 and tool_5000") == {"tool_17", "tool_4999"}
    assert names.mentioned_in("tool_3") == {"tool_3"}


def test_the_end_of_a_text_is_no_longer_name() -> None:
    assert references("the door", ["the door now", "door x y"]) == set()
