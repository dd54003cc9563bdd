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


def secret_name(name: str) -> bool:
    """Whether a variable or flag of this name holds a secret: API_KEY, --hf-token; not TOKENIZERS_PARALLELISM."""
    return not _WORDS.isdisjoint(re.split(r"[^A-Z0-9]+", name.upper()))


def secret_value(value: str) -> bool:
    """Whether a text looks like one, or has one in it."""
    return _LOOKS.search(value) is not None
