"""A file that a user names, read within bounds. Called by commands and by `manifests`; imports none of the operator's libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

_MOST_SKIPPED: Final = 128


def at_most(path: Path, most_bytes: int) -> bytes:
    """The first `most_bytes` bytes: a pipe or a device says no size and need not end. Raises OSError."""
    with path.open("rb") as stream:
        return stream.read(most_bytes)


def lines(stream: TextIO, most_characters: int) -> Iterator[str]:
    """The lines of a text, a longer one cut to `most_characters` and one more; one of more than 128 times that ends the text."""
    while line := stream.readline(most_characters + 1):
        yield line
        for _ in range(_MOST_SKIPPED):
            if len(line) <= most_characters or line.endswith("\n"):
                break
            line = stream.readline(most_characters + 1)
        else:
            return
