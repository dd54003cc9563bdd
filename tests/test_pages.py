"""The pages: every link leads somewhere, and the chapters that links name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def links(page: Path) -> list[str]:
    """Targets of a page's links, those in code left out."""
    text = FENCE.sub("", page.read_text("utf-8"))
    return LINK.findall(re.sub(r"`[^`\n]*`", "`code`", text))


def anchors(page: Path) -> set[str]:
    """The names of a page's chapters as code hosts and the site make them: lower case, dashes for spaces, no punctuation."""
    text = FENCE.sub("", page.read_text("utf-8"))
    titles = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()).replace(" ", "-") for title in titles}


def test_links_are_found_and_code_is_no_link(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Of `code`, and more\n[a](b.md) `[x](y)` ![picture](p.png)\n```\n[c](d)\n```\n[e](#of-code-and-more)\n")
    assert links(page) == ["b.md", "#of-code-and-more"]
    assert anchors(page) == {"of-code-and-more"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for target in links(page):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        led_to = (page.parent / file).resolve() if file else page
        if not led_to.exists() or (anchor and led_to.suffix == ".md" and anchor not in anchors(led_to)):
            wrong.append(target)
    assert wrong == []
