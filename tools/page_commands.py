"""The commands of the pages: which blocks there are, who runs them, and whether a command can be run at all.

Every block of code names its language. In a `console` block our command is run and its output compared (`shown_output`). A block of `sh`
with anything else than our own command has a comment before it: `run by FILE` (an end-to-end test that runs it as it stands; `: refused`
where it must fail), `as in FILE` (a test that does the same by other means), or `not run: WHY`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plimsoll_operator.cli import OneLineParser
from plimsoll_operator.cli.command import COMMANDS, module_of

ROOT: Final = Path(__file__).resolve().parents[1]
FENCE: Final = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>[^\n]*?) -->\n(?P=indent))?```(?P<language>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
HEREDOC: Final = re.compile(r"<<'(?P<word>\w+)'\n(?P<text>.*?)\n(?P=word)$", re.MULTILINE | re.DOTALL)
LANGUAGES: Final = frozenset({"console", "sh", "yaml", "json", "python", "text"})
OTHERS: Final = frozenset({"kubectl", "helm", "docker", "curl", "grep", "head", "git"})
"""Programs of others that pages may call."""
REFUSED: Final = ": refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of code and the comment before it."""

    language: str
    body: str
    mark: str

    @property
    def run_by(self) -> str:
        """The end-to-end test that runs it; empty where none does."""
        return self.mark.removeprefix("run by ").removesuffix(REFUSED) if self.mark.startswith("run by ") else ""

    @property
    def refused(self) -> bool:
        """Whether its last command must fail."""
        return self.mark.endswith(REFUSED)

    @property
    def lines(self) -> list[str]:
        """Command lines, without what is fed to them, continued ones as one."""
        text = HEREDOC.sub("", self.body).replace("\\\n", " ")
        return [line for line in (line.strip() for line in text.splitlines()) if line and not line.startswith("#")]

    @property
    def manifests(self) -> list[str]:
        """What is fed to commands."""
        return [found["text"] for found in HEREDOC.finditer(self.body)]


def blocks(text: str) -> Iterator[Block]:
    """The blocks of code of a page, in order."""
    for found in FENCE.finditer(text):
        indent = len(found["indent"])
        body = "\n".join(line[indent:] for line in found["body"].splitlines())
        yield Block(language=found["language"].strip(), body=body, mark=found["mark"] or "")


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line, cut at pipes and chains; what follows a `#` is a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


def fault(words: list[str]) -> str:
    """Why a command cannot be run as it is written; empty where it can."""
    program, rest = words[0], words[1 : words.index(">")] if ">" in words else words[1:]
    if program == "plimsoll":
        return _ours(rest)
    if program == "make":
        targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        missing = {word for word in rest if "=" not in word} - targets
        return f"the Makefile has no {', '.join(sorted(missing))}" if missing else ""
    if program in ("python", "python3") and rest[:1] == ["-m"] and rest[1].startswith(("tools.", "tests.")):
        at = ROOT.joinpath(*rest[1].split("."))
        return "" if at.with_suffix(".py").exists() or (at / "__main__.py").exists() else f"there is no module {rest[1]}"
    if program in OTHERS | {"python", "python3", "pip", "."}:
        gone = [word for word in rest if word.startswith(("examples/", "deploy/", "crds/")) and not (ROOT / word).exists()]
        return f"there is no {', '.join(gone)}" if gone else ""
    return f"{program} is no program that pages call"


def _ours(words: list[str]) -> str:
    """What our command's own parser says; empty where it takes the words."""
    if not words or words[0].startswith("-"):
        return "" if words in (["--version"], ["--help"], []) else f"plimsoll has no {words[0]}"
    if words[0] not in dict(COMMANDS):
        return f"plimsoll has no command {words[0]}"
    parser = OneLineParser(prog="plimsoll")
    subparsers = parser.add_subparsers(dest="command")
    importlib.import_module(module_of(words[0])).register(subparsers)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            options, rest = parser.parse_known_args(words)
    except SystemExit as ended:
        return said.getvalue() if ended.code else ""
    return "" if not rest or getattr(options, "takes_engine_arguments", False) else f"unrecognized: {' '.join(rest)}"
