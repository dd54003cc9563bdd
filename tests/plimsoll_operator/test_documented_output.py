"""What the pages show of the command is what it prints: every `$ plimsoll …` of a console block is run as it stands.

A line of three dots stands for any lines left out. Other commands of such blocks (make, helm, kubectl, pip) are not run here.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from plimsoll_operator.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One command of a page and what the page says that it prints."""

    page: str
    command: str
    output: str


def shown(page, text):
    found = []
    for block in BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            command = command.rpartition("&& ")[2].strip()
            if command.startswith("plimsoll "):
                found.append(Shown(page=page, command=command, output=output.strip("\n")))
    return found


EXAMPLES = [example for page in PAGES for example in shown(page.relative_to(ROOT).as_posix(), page.read_text("utf-8"))]


def agrees(output, printed):
    pattern = "".join("(?:.*\n)*" if line.strip() == LEFT_OUT else re.escape(line) + "\n" for line in output.splitlines())
    return re.fullmatch(pattern, printed.strip("\n") + "\n") is not None


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
def test_lines_may_be_left_out_and_no_others_differ(output, printed, holds):
    assert agrees(output, printed) == holds


def test_the_readme_opens_with_an_answer():
    assert [example.page for example in EXAMPLES].count("README.md") >= 2


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.page}: {example.command[:60]}")
def test_a_page_shows_what_the_command_prints(example, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    main(shlex.split(example.command)[1:])
    printed = capsys.readouterr()
    assert agrees(example.output, printed.out), printed.out
    assert printed.err == ""
