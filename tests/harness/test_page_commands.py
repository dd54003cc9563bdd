"""How the blocks and commands of pages are found, and which cannot be run."""

import pytest
from tools.page_commands import blocks, commands, fault


def test_blocks_are_found_with_the_comment_before_them() -> None:
    text = "a\n<!-- run by x.py: refused -->\n```sh\nkubectl apply -f - <<'M'\nkind: X\nM\na \\\n  b\n```\n\n   ```yaml\n   k: v\n   ```\n"
    first, second = blocks(text)
    assert (first.run_by, first.refused, first.lines, first.manifests) == ("x.py", True, ["kubectl apply -f -", "a    b"], ["kind: X"])
    assert (second.language, second.body, second.mark) == ("yaml", "k: v", "")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("plimsoll fit a -o manifest | kubectl apply -f -", [["plimsoll", "fit", "a", "-o", "manifest"], ["kubectl", "apply", "-f", "-"]]),
        ("make demo    # a | b", [["make", "demo"]]),
        ("a && b 'c | d' &", [["a"], ["b", "c | d"]]),
    ],
)
def test_a_line_is_cut_into_commands(line: str, found: list[list[str]]) -> None:
    assert list(commands(line)) == found


@pytest.mark.parametrize(
    ("line", "faulty"),
    [
        ("plimsoll plan -f x.yaml > y", False),
        ("plimsoll plan", True),
        ("plimsoll flan", True),
        ("plimsoll explain --no", True),
        ("make release-drill VERSION=0.34.0", False),
        ("make peace", True),
        ("python -m tools.nothing", True),
        ("kubectl apply -f examples/99.yaml", True),
        ("sudo ls", True),
    ],
)
def test_what_cannot_be_run_is_told(line: str, faulty: bool) -> None:
    (words,) = commands(line)
    assert bool(fault(words)) == faulty
