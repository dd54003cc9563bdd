"""A file that a user names, read within bounds. Called by commands and by `manifests`; imports none of the operator's libraries."""

from __future__ import annotations

from pathlib import Path


def at_most(path: Path, most_bytes: int) -> bytes:
    """The first `most_bytes` bytes: a pipe or a device says no size and need not end. Raises OSError."""
    with path.open("rb") as stream:
        return stream.read(most_bytes)
