"""A shell's script as its simple commands, with the values put in that are known: nothing is run, and what is not certain says so.

Called by `command_line`. Follows POSIX (Shell Command Language, 2.5 to 2.10) and bash's arrays as far as words go. What a branch, a loop or
a function would do is not decided: its commands say that they stand in one, and what they set is known to nobody from there on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from plimsoll_operator.cli.importing.shell_words import ASSIGNMENT, Lexer, Piece, Word
from plimsoll_operator.cli.importing.words import Budget, Unknown

_PARAMETER: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*|[@*]|[0-9])(\[[@*]\])?(?:(:?)([-+?=])(.*))?", re.DOTALL)
_OPENS: Final = frozenset({"if", "case", "while", "until", "for", "select", "{"})
_CLOSES: Final = frozenset({"fi", "esac", "done", "}"})
_WITHIN: Final = frozenset({"then", "else", "elif", "do", "in", "!"})
_ASKS: Final = frozenset({"[", "[[", "test", "command", "grep", "which", "type"})
"""Commands that are run to be told yes or no."""
_DECLARES: Final = frozenset({"declare", "export", "local", "readonly", "typeset"})
_SETS: Final = frozenset({"read", "unset", "mapfile", "readarray", "getopts"})
_SPACE: Final = re.compile(r"[ \t\n]+")
_MOST_NESTED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A simple command: its words, and whether it stands where it may not be run.

    `assigned`: variables for it alone; of one without words those that every later command gets, as `export` has it.
    """

    words: tuple[str, ...]
    assigned: tuple[tuple[str, str], ...] = ()
    perhaps: bool = False


def commands(script: str, field: str, env: Mapping[str, str], arguments: Sequence[str], budget: Budget) -> Iterator[Command]:
    """The script's simple commands in their order. Raises InvalidInput of a script that no shell would read, or that grows too long."""
    shell = _Shell(dict(env), tuple(arguments), budget, set(env))
    blocks = parentheses = 0
    after, asked = "", False
    for words, operator in _lists(Lexer(script, field)):
        while words and words[0].plain in _OPENS | _CLOSES | _WITHIN:
            first = words.pop(0).plain
            blocks = max(0, blocks + (first in _OPENS) - (first in _CLOSES))
            if first in ("for", "select", "case"):
                shell.unsure.update(word.plain for word in words[:1])
                words = []
        in_doubt = blocks > 0 or after == "||" or (after == "&&" and asked)
        command = shell.run(words, perhaps=in_doubt, alone=parentheses > 0 or in_doubt)
        if command.words or command.assigned:
            yield command
        if words:
            asked = words[0].plain in _ASKS
        parentheses = max(0, parentheses + (operator == "(") - (operator == ")"))
        after = operator if operator in ("&&", "||") else after if not words and operator == "\n" else ""


def _lists(lexer: Lexer) -> Iterator[tuple[list[Word], str]]:
    """Words up to the next operator, and that."""
    words: list[Word] = []
    for token in lexer.tokens():
        if isinstance(token, Word):
            words.append(token)
        else:
            yield words, token
            words = []
    yield words, ""


@dataclass(slots=True)
class _Shell:
    """What is known of variables, arrays and arguments while the commands go by."""

    known: dict[str, str]
    arguments: tuple[str, ...]
    budget: Budget
    exported: set[str] = field(default_factory=set)
    arrays: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)

    def run(self, words: list[Word], *, perhaps: bool, alone: bool) -> Command:
        """Put in what is known, and remember what is set; `alone`: what is set there is not known elsewhere."""
        assigned: list[tuple[str, str]] = []
        while words and (found := _assigns(words[0])):
            self._set(found, words.pop(0), assigned, alone=alone)
        if words and words[0].plain in _DECLARES:
            for word in words[1:]:
                if found := _assigns(word):
                    self._set(found, word, assigned, alone=alone)
                elif word.plain in self.known:
                    assigned.append((word.plain, self.known[word.plain]))
            self.exported.update(name for name, _ in assigned)
            return Command(words=(), assigned=tuple(assigned), perhaps=perhaps)
        made = tuple(text for word in words for text in self.texts(word))
        if made[:2] == ("set", "--"):
            self.arguments = made[2:] if not alone else tuple(Unknown(one) for one in made[2:])
            made = ()
        elif made and made[0] in _SETS:
            self.unsure.update(made[1:])
        if not words:
            assigned = [(name, value) for name, value in assigned if name in self.exported]
        return Command(words=made, assigned=tuple(assigned), perhaps=perhaps)

    def _set(self, found: re.Match[str], word: Word, assigned: list[tuple[str, str]], *, alone: bool) -> None:
        name, more = found[1], bool(found[2])
        if alone:
            self.unsure.add(name)
        if word.members is not None:
            before = self.arrays.get(name, ()) if more else ()
            self.arrays[name] = (*before, *(text for one in word.members for text in self.texts(one)))
            return
        first, *rest = word.pieces
        value = _joined([one for piece in (Piece(first.text[found.end() :]), *rest) for one in self._values(piece, 0)])
        if more:
            self.budget.spend(len(self.known.get(name, "")))
            value = _joined([self.known.get(name, Unknown("")), value])
        elif not alone:
            self.unsure.discard(name)
        self.known[name] = value
        assigned.append((name, Unknown(value) if alone else value))

    def texts(self, word: Word) -> list[str]:
        """The words that a word becomes."""
        rows: list[tuple[list[str], bool]] = [([], False)]
        for piece in word.pieces:
            values = self._values(piece, 0)
            if piece.expands and not piece.quoted:
                values = [text for value in values for text in ([value] if isinstance(value, Unknown) else _SPACE.split(value))]
            for place, text in enumerate(values):
                parts, kept = rows.pop() if not place else ([], False)
                rows.append(([*parts, text], kept or piece.quoted or text != ""))
        return [_joined(parts) for parts, kept in rows if kept]

    def _values(self, piece: Piece, depth: int) -> Sequence[str]:
        """What a piece becomes: one text, or each member of a list; Unknown as it is written where nobody here knows it."""
        self.budget.spend(len(piece.text))
        inner = piece.text[2:-1] if piece.text.startswith("${") else piece.text[1:]
        found = _PARAMETER.fullmatch(inner) if piece.expands and not piece.text.startswith(("$(", "`")) else None
        if not piece.expands or found is None:
            return [Unknown(piece.text) if piece.expands else piece.text]
        name, listed, operator = found[1], found[2], found[4]
        if (name in ("@", "*") or listed) and operator is None:
            members = self.arguments if name in ("@", "*") else self.arrays.get(name)
            if members is None or name in self.unsure:
                return [Unknown(piece.text)]
            self.budget.spend(sum(map(len, members)))
            return members if "*" not in (name, inner[-2:-1]) or not piece.quoted else [_joined([" ".join(members)])]
        value = self._of(name)
        self.budget.spend(len(value or ""))
        if value is not None and (operator is None or (value and operator != "+") or (operator in ("-", "=") and not found[3])):
            return [value]
        if operator and name not in self.unsure and ((operator in ("-", "=")) or (operator == "+" and value)):
            return [self._other(found[5], piece.text, depth)]
        return [Unknown(piece.text)]

    def _other(self, text: str, written: str, depth: int) -> str:
        """What stands behind :- in its turn."""
        if depth == _MOST_NESTED:
            return Unknown(written)
        words = [token for token in Lexer(text, self.budget.field).tokens() if isinstance(token, Word)]
        value = " ".join(_joined([one for piece in word.pieces for one in self._values(piece, depth + 1)]) for word in words)
        return Unknown(written) if any(piece.expands for word in words for piece in word.pieces) and "$" in value else value

    def _of(self, name: str) -> str | None:
        """A variable's value or an argument's, or None."""
        if name in self.unsure:
            return None
        if name.isdigit():
            value = self.arguments[int(name) - 1] if 0 < int(name) <= len(self.arguments) else None
        else:
            value = self.known.get(name)
        return None if isinstance(value, Unknown) else value


def _assigns(word: Word) -> re.Match[str] | None:
    """What a word sets, where it sets something."""
    first = word.pieces[0] if word.pieces else Piece("")
    return None if first.expands or first.quoted else ASSIGNMENT.match(first.text)


def _joined(parts: Sequence[str]) -> str:
    text = "".join(parts)
    return Unknown(text) if any(isinstance(part, Unknown) for part in parts) else text
