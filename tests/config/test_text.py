import pytest

from pipeline.config.text import brief, joined, markdown, printable, short, shortened


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\x9b") == "a\N{REPLACEMENT CHARACTER}[2Jb\nc\N{REPLACEMENT CHARACTER}"


def test_a_value_is_shown_in_one_line_of_bounded_length() -> None:
    assert brief(["a\n", 1]) == r"['a\n', 1]"
    assert brief("a\n b\x07") == "a b\N{REPLACEMENT CHARACTER}"
    assert brief("x" * 200, 10) == "x" * 9 + "…"
    assert shortened("abc", 3) == "abc"


@pytest.mark.parametrize(("value", "text"), [(0.123456, "0.1235"), (None, ""), ([8, 4], "[8, 4]"), (3, "3")])
def test_numbers_have_four_significant_digits(value: object, text: str) -> None:
    assert short(value) == text


def test_a_name_in_markdown_is_no_markup() -> None:
    assert markdown("<b>|a|[x](y)`c`\n# d") == r"\<b\>\|a\|[x]\(y)\`c\` # d"


def test_a_list_reads_as_in_a_sentence() -> None:
    assert [joined(list("abc")), joined(list("ab"), "or"), joined("a"), joined([])] == ["a, b and c", "a or b", "a", ""]
