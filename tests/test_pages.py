"""The pages: links lead somewhere, commands can be run, manifests are taken, and what is written by code is what the code says."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.documents import documents
from tools import api_page, prediction_page, reason_page
from tools.page_commands import LANGUAGES, Block, blocks, commands, fault

from plimsoll_operator.api.parse import KINDS

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


@pytest.mark.parametrize("written", [api_page, prediction_page, reason_page], ids=["api", "prediction", "reasons"])
def test_written_pages_are_what_the_code_says(written: ModuleType) -> None:
    assert written.DEFAULT_OUT.read_text("utf-8") == written.page(), f"run python -m {written.__name__}, or make shown"


def test_every_page_is_in_the_menu_of_the_site_and_on_the_readme() -> None:
    menu = (ROOT / "docs" / "site" / "mkdocs.yml").read_text("utf-8")
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if f": {page}\n" not in menu} == set(), "docs/site/mkdocs.yml: nav"
    assert pages - set(links(ROOT / "README.md")) == set(), "README.md: Find your page"


WRITTEN_ELSEWHERE = {"accuracy", "arguments", "releases-and-gpus", "words"}


@pytest.mark.parametrize("page", [page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem not in WRITTEN_ELSEWHERE], ids=name)
def test_a_page_opens_with_what_it_answers_and_where_its_words_are(page: Path) -> None:
    opening = re.split(r"^## ", page.read_text("utf-8"), maxsplit=1, flags=re.MULTILINE)[0]
    assert "(words.md)" in opening
    assert re.search(r"\A# .+\n\n(?!```|\|)\S", opening), "a sentence comes first"


OURS = {"plimsoll", "make", "python", "head"}
SHOWING = [page for page in PAGES if page.parent.name != "decisions"]


def blocks_of(page: Path) -> list[Block]:
    return list(blocks(page.read_text("utf-8")))


def manifests(block: Block) -> Iterator[object]:
    texts = [block.body] if block.language == "yaml" else block.manifests
    for text in texts:
        yield from documents(text)


@pytest.mark.parametrize("page", SHOWING, ids=name)
def test_every_block_names_its_language(page: Path) -> None:
    assert {block.language for block in blocks_of(page)} <= LANGUAGES, "see CONTRIBUTING.md, Write a page"


@pytest.mark.parametrize("page", SHOWING, ids=name)
def test_every_command_can_be_run_and_is_held_by_a_test_or_says_why_not(page: Path) -> None:
    for block in blocks_of(page):
        if block.language != "sh":
            continue
        called = [words for line in block.lines for words in commands(line)]
        assert [found for words in called if (found := fault(words))] == []
        if block.mark.startswith("not run: "):
            continue
        file = block.run_by or block.mark.removeprefix("as in ")
        if block.mark:
            assert (ROOT / file).is_file(), f"{file} of the comment before {block.body!r} is not there"
        else:
            assert {words[0] for words in called} <= OURS, f"who runs this? {block.body!r}"


@pytest.mark.parametrize("page", SHOWING, ids=name)
def test_every_whole_manifest_of_ours_is_one_that_the_api_takes(page: Path) -> None:
    for block in blocks_of(page):
        for manifest in manifests(block):
            if not isinstance(manifest, dict) or manifest.get("kind") not in KINDS:
                continue
            KINDS[manifest["kind"]].model_validate(manifest)
