"""What the pages show of the command is what it prints: every `$ plimsoll …` of a console block is run as it stands."""

import pytest
from tools.shown_output import ROOT, Shown, pages, shown

EXAMPLES = [(page.relative_to(ROOT).as_posix(), example) for page in pages() for example in shown(page.read_text("utf-8"))]


@pytest.mark.parametrize(
    ("output", "printed", "holds"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\nb", "a\nc\n", False),
        ("a", "a\nb\n", False),
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...\nd", "a\nd\n", True),
        ("a\n...", "a\nb\n", True),
        ("a\n...\nd", "a\nb\nc\n", False),
        ("...\n(x.y)", "a\n(x.y)\n", True),
        ("...\n(x.y)", "a\n(xzy)\n", False),
    ],
)
def test_lines_may_be_left_out_and_no_others_differ(output: str, printed: str, holds: bool) -> None:
    assert Shown(command="", output=output).holds(printed) == holds


@pytest.mark.parametrize(
    ("output", "anew"),
    [("a\nb", "1\n2\n3\n4"), ("a\n...", "1\n..."), ("a\n...\nb\nc", "1\n...\n3\n4"), ("...\nc", "...\n4")],
)
def test_output_is_written_anew_as_far_as_it_was_shown(output: str, anew: str) -> None:
    written = Shown(command="", output=output).anew("1\n2\n3\n4\n")
    assert written == anew
    assert Shown(command="", output=written).holds("1\n2\n3\n4\n")


def test_only_our_command_is_run_and_of_a_chain_its_last_part() -> None:
    text = "```console\n$ make x\nbuilt\n$ pip install -q . && plimsoll models\na\nb\n```\n```\n$ plimsoll plan\n```\n"
    assert list(shown(text)) == [Shown(command="plimsoll models", output="a\nb")]


def test_the_readme_opens_with_an_answer() -> None:
    assert [page for page, _ in EXAMPLES].count("README.md") >= 2


@pytest.mark.parametrize(("page", "example"), EXAMPLES, ids=[f"{page}: {example.command[:60]}" for page, example in EXAMPLES])
def test_a_page_shows_what_the_command_prints(page: str, example: Shown) -> None:
    """`make shown` writes it anew where figures have changed for a reason."""
    printed = example.printed()
    assert example.holds(printed), printed
