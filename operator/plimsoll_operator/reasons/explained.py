"""A reason as text, with two sentences: the form of every reason here."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Explained(StrEnum):
    """A name, what it means, and what to do about it."""

    means: str
    to_do: str

    def __new__(cls, name: str, means: str, to_do: str) -> Self:
        """Made of the three; the member is its name."""
        return cls._of(name, means, to_do)

    @classmethod
    def _of(cls, name: str, means: str, to_do: str) -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.means, member.to_do = means, to_do
        return member

    @property
    def said(self) -> tuple[str, str, str]:
        """The three, for a member of another list that is the same word and so says the same."""
        return str(self), self.means, self.to_do
