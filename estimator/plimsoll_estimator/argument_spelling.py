"""A list of `vllm serve` arguments cut into flags and their values, as the release's own parser would cut it.

Called by `arguments`, and by whoever asks what a list of arguments holds: one flag is found under every spelling that the release
takes, abbreviations and negations among them. Follows argparse and vLLM's FlexibleArgumentParser (vllm/utils/argparse_utils.py, before
0.11.1 vllm/utils/__init__.py). Knows no values' meaning.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.argument_table import ArgumentRow, find_spelling, normalise_flag, releases_of_flag, spellings_of
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.releases import Releases

MAX_ARGS: Final = 256
_NEGATIVE_NUMBER: Final = re.compile(r"-\d+|-\d*\.\d+")
_JSON_KINDS: Final = ("json", "config", "json_or_str", "json_or_pairs")
_NO_VALUE: Final = ("flag", "bool")
_NO_VALUE_NEEDED: Final = (*_NO_VALUE, "bool_value", "optional_str")
_LISTS: Final = ("list", "int_list", "float_list", "modules")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserRules:
    """Switches of one release's FlexibleArgumentParser. Defaults are those of the oldest known release (0.8)."""

    dotted: bool = False
    """JSON arguments are taken key by key: `--x.a.b v`."""
    keeps_underscores: bool = False
    """Underscores in the keys stay: before, `--x.a_b` set `a-b`."""
    reads_dotted_json: bool = False
    """The value of a key is read as JSON where it is some, `--x.a+ b,c` is a list, and aliases of one dash take keys too."""
    reads_suffixes: bool = False
    """The value of a key may be 80g."""


_RELEASES: Final = Releases(
    ParserRules(),
    (EngineVersion(0, 9), {"dotted": True}),
    (EngineVersion(0, 9, 1), {"keeps_underscores": True}),
    (EngineVersion(0, 9, 2), {"reads_dotted_json": True}),
    (EngineVersion(0, 20), {"reads_suffixes": True}),
)


def parser_rules(version: EngineVersion) -> ParserRules:
    """The switches of `version`."""
    return _RELEASES.of(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenArgument:
    """One argument as written: its row, its spelling, its values, and the tokens it took. `key_path`: the keys after the first dot."""

    row: ArgumentRow
    spelling: str
    key_path: tuple[str, ...]
    values: tuple[str, ...]
    negated: bool
    tokens: tuple[str, ...]

    @property
    def flag(self) -> str:
        """The flag's own name, however it was spelled."""
        return self.row.flag


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What a token that opens an argument says: its row, its keys, and the value in the same token, if any."""

    row: ArgumentRow
    spelling: str
    key_path: tuple[str, ...] = ()
    negated: bool = False
    attached: str | None = None


def split_arguments(args: Sequence[str], version: EngineVersion) -> tuple[GivenArgument, ...]:
    """Cut the tokens into arguments; every token is accounted for.

    Raises InvalidInput naming the token: no flag of this release, several that begin so, a value that belongs to no flag, one missing.
    """
    if len(args) > MAX_ARGS:
        raise InvalidInput("extraArgs", len(args), f"are more than {MAX_ARGS} tokens")
    items: list[GivenArgument] = []
    position = 0
    while position < len(args):
        token = args[position]
        head = _head(token, version)
        position += 1
        if head.attached is not None:
            values: tuple[str, ...] = (head.attached,)
        else:
            values = _following(args, position, head, version)
            position += len(values)
        _check_count(head, values)
        tokens = (token,) if head.attached is not None else (token, *values)
        items.append(
            GivenArgument(row=head.row, spelling=head.spelling, key_path=head.key_path, values=values, negated=head.negated, tokens=tokens)
        )
    return tuple(items)


def _following(args: Sequence[str], position: int, head: _Head, version: EngineVersion) -> tuple[str, ...]:
    """The tokens after a flag that are its values. A key takes the next token whatever it is."""
    if head.key_path:
        return tuple(args[position : position + 1])
    wanted = 0 if head.row.kind in _NO_VALUE else MAX_ARGS if head.row.kind in _LISTS else 1
    end = position
    while end < len(args) and end - position < wanted and not _opens_argument(args[end], version):
        end += 1
    return tuple(args[position:end])


def _opens_argument(token: str, version: EngineVersion) -> bool:
    """Whether argparse takes the token for a flag, known or not (argparse.py: _parse_optional)."""
    if not token.startswith("-") or token == "-":
        return False
    if "." in token.partition("=")[0] and parser_rules(version).reads_dotted_json:
        return True  # FlexibleArgumentParser takes even -0.5 for a key: such a value needs the equals sign
    if normalise_flag(token.partition("=")[0]) in spellings_of(version):
        return True
    return _NEGATIVE_NUMBER.fullmatch(token) is None and (" " not in token or _begins_a_flag(token, version))


def _begins_a_flag(token: str, version: EngineVersion) -> bool:
    try:
        return find_spelling(token.partition("=")[0], version) is not None
    except InvalidInput:
        return True


def _head(token: str, version: EngineVersion) -> _Head:
    if not token.startswith("-") or _NEGATIVE_NUMBER.fullmatch(token):
        raise InvalidInput("extraArgs", token, "belongs to no flag")
    spelling, equals, value = token.partition("=")
    attached = value if equals else None
    if spelling.startswith("-O") and spelling[2:3] not in ("", ".") and len(spelling) <= 16:
        spelling, attached = "-O", spelling[2:]
    if normalise_flag(spelling) == "--model":
        raise InvalidInput(spelling, token, "is the model, which stands before all arguments and is not said again")
    name = "--optimization-level" if spelling == "-O" and "-O" not in spellings_of(version) else spelling
    found = find_spelling(name, version)
    if found is not None:
        return _Head(row=found.row, spelling=spelling, negated=found.negated, attached=attached)
    dotted = _dotted(spelling, attached, version)
    if dotted is not None:
        return dotted
    short = spellings_of(version).get(token[:2]) if not token.startswith("--") else None
    if short is not None and short.row.kind not in _NO_VALUE:
        return _Head(row=short.row, spelling=token[:2], attached=token[2:])  # -qfp8, as argparse reads short ones
    raise InvalidInput(spelling, spelling, f"is not an argument of vllm serve {version}{_hint(normalise_flag(spelling), version)}")


def _dotted(spelling: str, attached: str | None, version: EngineVersion) -> _Head | None:
    """`--x.a.b v` sets one key of a JSON argument. None: nothing of the kind."""
    base, dot, rest = spelling.partition(".")
    rules = parser_rules(version)
    if not dot or not rest or not (rules.dotted if base.startswith("--") else rules.reads_dotted_json):
        return None
    found = find_spelling(base, version)
    if found is None or found.row.kind not in _JSON_KINDS:
        return None
    if not rules.keeps_underscores:
        rest = rest.replace("_", "-")
    return _Head(row=found.row, spelling=spelling, key_path=tuple(rest.split(".")), attached=attached)


def _hint(name: str, version: EngineVersion) -> str:
    table = spellings_of(version)
    positive = "--" + name.removeprefix("--no-") if name.startswith("--no-") else name
    when = releases_of_flag(name)
    if when:
        return f": it exists {when}" if when.endswith(" on") else f": it existed {when}"
    if positive in table:
        return f": there {positive} has no negation"
    short = table.get("-" + name.lstrip("-")) if name.startswith("--") else None
    if short is not None:
        return f": write -{name.lstrip('-')} or {short.row.flag}"
    alike = difflib.get_close_matches(name[:80], list(table), n=2, cutoff=0.85)
    return f" (nearest: {', '.join(alike)})" if alike else ""


def _check_count(head: _Head, values: tuple[str, ...]) -> None:
    kind = head.row.kind
    if kind in _NO_VALUE and values:
        instead = f"; write {head.row.flag} or --no-{head.row.flag.lstrip('-')}" if kind == "bool" and not head.negated else ""
        raise InvalidInput(head.spelling, values[0], f"takes no value{instead}")
    if not values and (head.key_path or kind not in _NO_VALUE_NEEDED):
        raise InvalidInput(head.spelling, None, "needs a value")
