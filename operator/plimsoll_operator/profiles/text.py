"""A config.json that somebody holds as text, as a Source. Used by the controller for ConfigMaps. No weights are beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_NAME: Final = "config.json"


class ConfigText:
    """One file in memory. `kind` is what the ModelProfile says of where it comes from."""

    __slots__ = ("_data", "_kind", "_revision")

    def __init__(self, text: str, *, kind: str, revision: str | None) -> None:
        self._data = text.encode()
        self._kind = kind
        self._revision = revision

    @property
    def kind(self) -> str:
        """As given."""
        return self._kind

    @property
    def revision(self) -> str | None:
        """As given: a text does not know."""
        return self._revision

    def sizes(self) -> Mapping[str, int]:
        """The one file."""
        return {_NAME: len(self._data)}

    def read(self, name: str, offset: int, length: int) -> bytes:
        """A part of the text."""
        return self._data[offset : offset + length] if name == _NAME else b""
