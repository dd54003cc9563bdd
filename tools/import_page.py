"""Writes into docs/import.md what became of the public manifests that are kept: who read the list of each, or why there is none.

    python -m tools.import_page

Rows are those of tests/data/imported/sources.json, answers those that `python -m tests.engine.manifests` keeps of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "import.md"
IMPORTED = ROOT / "tests" / "data" / "imported"
ANSWERS = ROOT / "tests" / "data" / "rendered" / "answers.jsonl"
CHAPTER = "## Public manifests, and what vLLM says of them\n"


def row(source: dict[str, Any], answers: list[dict[str, object]]) -> str:
    """One manifest: where it is from, which releases configured how many of its lists, or why it became no pods."""
    stem = Path(source["file"]).stem
    own = [one for one in answers if str(one["list"]).startswith(f"imported/{stem}/")]
    link = f"[{source['repository']}](https://github.com/{source['repository']}/blob/{source['commit']}/{source['path']})"
    name = f"{link} `{Path(source['path']).name}`"
    if own:
        releases = ", ".join(sorted({str(one["release"]) for one in own}))
        return f"| {name} | {releases} | {len(own)} | {sum('resolved' in one for one in own)} |"
    if not source.get("put", True):
        return f"| {name} | | not put to it | |"
    kept = (IMPORTED / f"{stem}.rendered.yaml").read_text("utf-8")
    why = [line.partition(": ")[2].strip() for line in kept.splitlines() if line.startswith("# ")]
    return f"| {name} | | none: {' '.join(dict.fromkeys(why))} | |"


def now() -> str:
    """The page with the chapter as it is now, which is its last."""
    sources = json.loads((IMPORTED / "sources.json").read_text("utf-8"))
    answers = [json.loads(line) for line in ANSWERS.read_text("utf-8").splitlines()]
    before, chapter, after = PAGE.read_text("utf-8").partition(CHAPTER)
    words = after.partition("| manifest |")[0]
    table = ["| manifest | vLLM | lists | configured as planned |", "|---|---|---|---|", *(row(one, answers) for one in sources)]
    return "".join((before, chapter, words, "\n".join(table), "\n"))


def main() -> None:
    """Write the page."""
    PAGE.write_text(now(), "utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
