"""The site of the pages: lays them out as in the repository with what they link to, lists the decisions, and has Zensical build it.

Called by `make docs`. Knows which folders pages link into; what is on a page, and whether its links hold, it refuses to know.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".work" / "docs"
LINKED = ("examples", "deploy/helm/plimsoll")


def lay_out(pages: Path) -> None:
    """Write the pages, and the files that they link to, under `pages`."""
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir(parents=True)
    for page in ROOT.glob("*.md"):
        shutil.copy(page, pages / page.name)
    shutil.copytree(ROOT / "docs", pages / "docs", ignore=shutil.ignore_patterns("site"))
    for folder in LINKED:
        shutil.copytree(ROOT / folder, pages / folder)
    with (pages / "docs" / "decisions" / "README.md").open("a") as listing:
        listing.write("\n| date | decision |\n|---|---|\n")
        for record in sorted((ROOT / "docs" / "decisions").glob("2*.md")):
            title = record.read_text("utf-8").partition("\n")[0].removeprefix("# ")
            listing.write(f"| {record.name[:10]} | [{title}]({record.name}) |\n")


def main() -> int:
    """Build the site; the status is the builder's."""
    lay_out(WORK / "pages")
    shutil.copy(Path(__file__).with_name("mkdocs.yml"), WORK)
    status = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=WORK, check=False).returncode
    if status == 0:
        print(f"the site is in {(WORK / 'site').relative_to(ROOT)}: open index.html")
    return status


if __name__ == "__main__":
    sys.exit(main())
