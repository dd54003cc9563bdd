"""What looks like a secret: by the name it has, or by the look of it. Asked before anything is copied; never shows a value.

A reference to a Secret is no secret. Doubt goes against copying: what is left out is named, and the user puts a reference in its place.
"""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = frozenset(
    {"APIKEY", "CREDENTIAL", "CREDENTIALS", "KEY", "PASS", "PASSPHRASE", "PASSWD", "PASSWORD", "PAT", "SECRET", "TOKEN"}
)
_LOOKS: Final = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:hf_[A-Za-z0-9]{8}|sk-[A-Za-z0-9_-]{8}|nvapi-|gh[opsu]_[A-Za-z0-9]{8}|github_pat_|glpat-|xox[abp]-|AKIA[A-Z0-9]{8}"
    r"|eyJ[A-Za-z0-9_-]{8}|-----BEGIN )|://[^/\s:@]*:[^/\s@]+@"
)
"""Prefixes that hubs, clouds and code hosts give their tokens, JSON web tokens, keys, and a password in an address."""


_HEADER: Final = re.compile(r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8}")
_FLAGS: Final = re.compile(r"(?:^|\s)--?([A-Za-z][A-Za-z0-9_-]{0,63})(?:=|[ \t]+)(\S+)")
_LOGIN: Final = frozenset({"u", "user"})
"""Of curl, wget and their like: a name and its password."""


def secret_name(name: str) -> bool:
    """Whether a variable or flag of this name holds a secret: API_KEY, --hf-token; not TOKENIZERS_PARALLELISM."""
    return not _WORDS.isdisjoint(re.split(r"[^A-Z0-9]+", name.upper()))


def secret_value(value: str) -> bool:
    """Whether a text looks like one, or has one in it."""
    return _LOOKS.search(value) is not None


def secret_in(command: str) -> bool:
    """Whether a command, or a script, has one: a value that looks like one, or one that follows a flag or a header for it."""
    if secret_value(command) or _HEADER.search(command) is not None:
        return True
    given = [(flag, value) for flag, value in _FLAGS.findall(command) if not value.startswith(("$", "-", '"$'))]
    return any(secret_name(flag) or (flag in _LOGIN and ":" in value) for flag, value in given)
