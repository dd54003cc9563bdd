"""What looks like a secret: by the name it has, or by the look of it. Asked before anything is copied; never shows a value.

A reference to a Secret is no secret. Doubt goes against copying: what is left out is named, and the user puts a reference in its place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

_WORDS: Final = frozenset({
    "ACCESSKEY", "APIKEY", "AUTH", "AUTHORIZATION", "BEARER", "COOKIE", "CRED", "CREDENTIAL", "CREDENTIALS", "CREDS", "DSN", "JWT", "KEY",
    "PASS", "PASSPHRASE", "PASSWD", "PASSWORD", "PAT", "PW", "PWD", "SECRET", "SECRETS", "TOKEN",
})  # fmt: skip
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LOOKS: Final = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:hf_[A-Za-z0-9]{8}|sk-[A-Za-z0-9_-]{8}|nvapi-|gh[opsu]_[A-Za-z0-9]{8}|github_pat_|glpat-|xox[abp]-|AKIA[A-Z0-9]{8}"
    r"|eyJ[A-Za-z0-9_-]{8}|-----BEGIN )|://[^/\s@]{1,256}@|(?i:\b(?:bearer|authorization:\s*basic)\s+)[A-Za-z0-9._~+/=-]{8}"
)
"""Prefixes that hubs, clouds and code hosts give their tokens, JSON web tokens, keys, a header, and a login in an address."""
_HEXADECIMAL: Final = re.compile(r"(?<![A-Za-z0-9/:@_-])[0-9a-f]{32,128}(?![A-Za-z0-9/_-])", re.IGNORECASE)
"""Words of an API key's length in sixteen digits, as some services give them."""
_COMMITS: Final = frozenset({"COMMIT", "DIGEST", "HASH", "REF", "REVISION", "SHA", "SHA1", "SHA256", "UUID", "VERSION"})
"""Names of what has such digits and is known to everybody."""
_FLAGS: Final = re.compile(r"(?:^|\s)--?([A-Za-z][A-Za-z0-9_-]{0,63})(?:=|[ \t]+)(\S+)")
_NAMED: Final = re.compile(r"""["']?([A-Za-z][A-Za-z0-9_-]{0,63})["']?\s*:\s*["']([^"'$\s][^"'\s]*)["']""")
"""A value in JSON, with its name."""
_LOGIN: Final = frozenset({"u", "user"})
"""Of curl, wget and their like: a name and its password."""
_SWITCHES: Final = frozenset({"", "0", "1", "false", "no", "none", "off", "on", "true", "yes"})
_DEEPEST: Final = 16
_SHORTEST: Final = 6
"""Shorter values of secrets stand in many a text that is none."""
_HIDDEN: Final = "(not shown)"
_WORD: Final = re.compile(r"\S+")


def secret_name(name: str) -> bool:
    """Whether a variable, flag or key of this name holds a secret: API_KEY, --hf-token, accessKey; not TOKENIZERS_PARALLELISM."""
    return not _WORDS.isdisjoint(_parts(name))


def secret_variable(name: str, value: str) -> bool:
    """Whether a variable, by its name or by its value, is a secret."""
    if value.strip().lower() in _SWITCHES:
        return False
    if secret_name(name) or secret_value(value) or secret_in(value):
        return True
    return _HEXADECIMAL.search(value) is not None and _COMMITS.isdisjoint(_parts(name))


def secret_value(value: str) -> bool:
    """Whether a text looks like one, or has one in it."""
    return _LOOKS.search(value) is not None


def secret_in(command: str) -> bool:
    """Whether a text has one: a value that looks like one, or one that follows a flag, a header or a key for it."""
    if secret_value(command):
        return True
    given = [(flag, value) for flag, value in _FLAGS.findall(command) if not value.startswith(("$", "-", '"$', "'$"))]
    if any(secret_name(flag) or (flag in _LOGIN and ":" in value) for flag, value in given):
        return True
    return any(secret_name(name) for name, _ in _NAMED.findall(command))


def without_secrets(text: str, known: Collection[str]) -> str:
    """A sentence without what is known to be a secret, and without words that look like one."""
    for value in known:
        text = text.replace(value, _HIDDEN) if len(value) >= _SHORTEST else text
    return _WORD.sub(lambda word: _HIDDEN if secret_value(word[0]) else word[0], text)


def texts_in(value: Any, depth: int = _DEEPEST) -> Iterator[str]:
    """Every list of words and every text below: commands, arguments, hooks and probes. What lies deeper the API refuses."""
    if depth == 0:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        yield " ".join(one for one in value if isinstance(one, str))
        for one in value:
            yield from texts_in(one, depth - 1)
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts_in(one, depth - 1)


def _parts(name: str) -> list[str]:
    return re.split(r"[^A-Z0-9]+", _CAMEL.sub("_", name).upper())
