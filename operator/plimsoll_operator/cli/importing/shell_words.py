"""A shell's script as words and operators: what is quoted, what is put in later, and which redirections and comments are no words.

Called by `shell`. Sources: POSIX, Shell Command Language, 2.2 (quoting), 2.3 (tokens), 2.6 (expansions), 2.7 (redirection); bash's arrays.
Puts nothing in and knows no command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from plimsoll_estimator import InvalidInput

_BLANK: Final = " \t\r"
_ENDS: Final = frozenset("\n;&|()<>" + _BLANK)
_SPECIAL: Final = frozenset("\\'\"$`") | _ENDS
_OPERATORS: Final = ("&&", "||", ";;", ";", "&", "|", "\n", "(", ")")
_REDIRECTION: Final = re.compile(r"[0-9]*(<<<|<<-?|>>|>&|<&|<>|>\||<|>)|(&>>?)")
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[@*#?$!0-9-]")
ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_MOST_NESTED: Final = 200


class Piece(NamedTuple):
    """A part of a word: text as it is, or an expansion as it is written; quoted ones are not split."""

    text: str
    expands: bool = False
    quoted: bool = False


class Word(NamedTuple):
    """One word. `members`: of NAME=( ... ), what is between the parentheses."""

    pieces: tuple[Piece, ...]
    members: tuple[Word, ...] | None = None

    @property
    def plain(self) -> str:
        """Its text where nothing in it is quoted or put in later, else nothing."""
        return "".join(piece.text for piece in self.pieces) if not any(piece.expands or piece.quoted for piece in self.pieces) else ""


@dataclass(slots=True)
class Lexer:
    """A script, from its beginning to its end. `where`: the field that it stands in, for sentences."""

    text: str
    where: str
    _at: int = 0
    _heredocs: list[tuple[str, bool]] = field(default_factory=list)

    def tokens(self) -> Iterator[Word | str]:
        """Words, and operators as text. Raises InvalidInput where a quote is not closed."""
        while self._at < len(self.text):
            char = self.text[self._at]
            if char in _BLANK:
                self._at += 1
            elif self.text.startswith("\\\n", self._at):
                self._at += 2
            elif char == "#":
                self._at = self._line_end()
            elif found := _REDIRECTION.match(self.text, self._at):
                self._redirect(found)
            elif operator := next((one for one in _OPERATORS if self.text.startswith(one, self._at)), None):
                self._at += len(operator)
                if operator == "\n":
                    self._skip_heredocs()
                yield operator
            else:
                yield self._word()

    def _line_end(self) -> int:
        found = self.text.find("\n", self._at)
        return len(self.text) if found < 0 else found

    def _redirect(self, found: re.Match[str]) -> None:
        """Where output goes, or input comes from, is no word of the command."""
        self._at = found.end()
        while self._at < len(self.text) and self.text[self._at] in _BLANK:
            self._at += 1
        if self._at < len(self.text) and self.text[self._at] not in _ENDS:
            target = self._word()
            if found[1] in ("<<", "<<-"):
                self._heredocs.append(("".join(piece.text for piece in target.pieces), found[1] == "<<-"))

    def _skip_heredocs(self) -> None:
        for delimiter, indented in self._heredocs:
            while self._at < len(self.text):
                end = self._line_end()
                line = self.text[self._at : end]
                self._at = min(end + 1, len(self.text))
                if (line.lstrip("\t") if indented else line) == delimiter:
                    break
        self._heredocs = []

    def _word(self) -> Word:
        pieces: list[Piece] = []
        while self._at < len(self.text):
            char = self.text[self._at]
            if char == "(" and ASSIGNMENT.fullmatch(Word(tuple(pieces)).plain):
                return Word(tuple(pieces), self._members())
            if char in _ENDS:
                break
            if self.text.startswith("\\\n", self._at):
                self._at += 2
            elif char == "\\":
                pieces.append(Piece(self.text[self._at + 1 : self._at + 2], quoted=True))
                self._at += 2
            elif char == "'":
                pieces.append(Piece(self._until("'"), quoted=True))
            elif char == '"':
                pieces += self._double()
            elif char in "$`":
                pieces.append(self._expansion(quoted=False))
            else:
                pieces.append(Piece(self._run(_SPECIAL)))
        return Word(tuple(pieces))

    def _members(self) -> tuple[Word, ...]:
        self._at += 1
        found: list[Word] = []
        for token in self.tokens():
            if token == ")":
                break
            if isinstance(token, Word):
                found.append(token)
        return tuple(found)

    def _run(self, ends: frozenset[str]) -> str:
        start = self._at
        self._at += 1
        while self._at < len(self.text) and self.text[self._at] not in ends:
            self._at += 1
        return self.text[start : self._at]

    def _until(self, sign: str) -> str:
        end = self.text.find(sign, self._at + 1)
        if end < 0:
            raise self._unreadable("no closing quotation")
        inner = self.text[self._at + 1 : end]
        self._at = end + 1
        return inner

    def _double(self) -> list[Piece]:
        pieces = [Piece("", quoted=True)]
        self._at += 1
        while self._at < len(self.text):
            char = self.text[self._at]
            if char == '"':
                self._at += 1
                return pieces
            following = self.text[self._at + 1 : self._at + 2]
            if char == "\\" and following in ("$", "`", '"', "\\", "\n"):
                pieces.append(Piece("" if following == "\n" else following, quoted=True))
                self._at += 2
            elif char in "$`":
                pieces.append(self._expansion(quoted=True))
            else:
                pieces.append(Piece(self._run(frozenset('"\\$`')), quoted=True))
        raise self._unreadable("no closing quotation")

    def _expansion(self, *, quoted: bool) -> Piece:
        """$NAME, ${ ... }, $( ... ) or `...`, as it is written; a dollar before anything else is one."""
        start = self._at
        if self.text[start] == "`":
            self._until("`")
        elif self.text[start + 1 : start + 2] in ("(", "{"):
            self._balanced()
        elif found := _PARAMETER.match(self.text, start + 1):
            self._at = found.end()
        else:
            self._at += 1
            return Piece("$", quoted=quoted)
        return Piece(self.text[start : self._at], expands=True, quoted=quoted)

    def _balanced(self) -> None:
        opens = self.text[self._at + 1]
        closes = ")" if opens == "(" else "}"
        depth = 0
        self._at += 1
        while self._at < len(self.text):
            char = self.text[self._at]
            if char == "'" and opens == "(":
                self._until("'")
                continue
            self._at += 2 if char == "\\" else 1
            depth += (char == opens) - (char == closes)
            if depth > _MOST_NESTED:
                break
            if depth == 0:
                return
        raise self._unreadable(f"no {closes} for its {opens}")

    def _unreadable(self, why: str) -> InvalidInput:
        return InvalidInput(self.where, None, f"is a script that no shell would read: {why}")
