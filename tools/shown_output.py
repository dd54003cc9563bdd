"""What the pages show of the command: finds every `$ plimsoll …` of their console blocks, and writes what it prints into them anew.

`make shown` after figures have changed; the test of the pages reads the same blocks. A line of three dots stands for any lines left out.
Other commands of such blocks (make, helm, kubectl, pip) are neither run nor touched.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plimsoll_operator.cli import main

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One command of a page, and what the page says that it prints."""

    command: str
    output: str

    def printed(self) -> str:
        """What it prints, run from the repository's root."""
        out = io.StringIO()
        with contextlib.chdir(ROOT), contextlib.redirect_stdout(out):
            main(shlex.split(self.command)[1:])
        return out.getvalue()

    def holds(self, printed: str) -> bool:
        """Whether that is what the page shows, lines left out aside."""
        pattern = "".join("(?:.*\n)*" if line.strip() == LEFT_OUT else re.escape(line) + "\n" for line in self.output.splitlines())
        return re.fullmatch(pattern, printed.strip("\n") + "\n") is not None

    def anew(self, printed: str) -> str:
        """The output to show now: as many lines before and after those left out as there were."""
        lines, now = self.output.splitlines(), printed.strip("\n").splitlines()
        if LEFT_OUT not in lines:
            return "\n".join(now)
        place = lines.index(LEFT_OUT)
        after = len(lines) - place - 1
        return "\n".join([*now[:place], LEFT_OUT, *now[len(now) - after :]])


def pages() -> Iterator[Path]:
    """Pages that show commands."""
    yield from (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))


def shown(text: str) -> Iterator[Shown]:
    """The commands of a page."""
    for block in BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            command = command.rpartition("&& ")[2].strip()
            if command.startswith("plimsoll "):
                yield Shown(command=command, output=output.strip("\n"))


def write_anew() -> None:
    """Put what the commands print now into the pages, and say where something changed."""
    for page in pages():
        text = page.read_text("utf-8")
        for example in shown(text):
            printed = example.printed()
            if not example.holds(printed):
                print(f"{os.path.relpath(page, ROOT)}: {example.command}")
                text = text.replace(f"{example.command}\n{example.output}\n", f"{example.command}\n{example.anew(printed)}\n")
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    write_anew()
