"""Why no shape of a model is known: the reasons of ModelResolved where it is not True.

Said by whoever looks for a shape: `gather` in the cluster, the sources of profiles, the resolver, and the reader program, whose exit
status tells it. Data: knows no source.
"""

from __future__ import annotations

from typing import Self

from plimsoll_operator.reasons.conditions import Why
from plimsoll_operator.reasons.explained import Explained

OF_NO_READER = 1
"""What a program with a bug ends with, and so no reader that says why; 2 is a wrong command line."""


class NoShape(Explained):
    """A reason, and the exit status of a reader program that ends for it; OF_NO_READER where none does."""

    exit_status: int

    def __new__(cls, name: str, means: str, to_do: str, exit_status: int = OF_NO_READER) -> Self:
        """Made of the sentences and the status."""
        member = cls._of(name, means, to_do)
        member.exit_status = exit_status
        return member

    RESOLVING = ("Resolving", "The model's shape is being read.", "Wait: it is decided when that has ended.")
    NOT_FOUND = (
        "NotFound",
        "No profile describes the model, and its source has no such model, revision or file, or hides it from this token.",
        "Check spec.model.name and revision, or apply a ModelProfile (`plimsoll profile`).",
        3,
    )
    GATED = (
        "Gated",
        "The model's terms are not accepted by the account of the token.",
        "Accept them on the hub for the operator's token (chart: hub.tokenSecret), or give the deployment a token of its own.",
        4,
    )
    UNREACHABLE = (
        "Unreachable",
        "The source did not answer, asks for fewer requests, or is not asked because the controller runs offline.",
        "It is asked again by itself; `plimsoll profile fetch` makes the profile from elsewhere.",
        5,
    )
    UNSUPPORTED = (
        "Unsupported",
        "What is there cannot be read as a shape; the message says what is known and what is not.",
        "Apply a ModelProfile.",
        7,
    )
    AMBIGUOUS = (
        "Ambiguous",
        "Several files or profiles could be meant, and they differ.",
        "Name one in spec.model.profile.name, or delete what is wrong.",
        8,
    )
    MISMATCH = ("Mismatch", "The profile named is of another model or revision than the spec.", "Name the right profile.")
    INVALID = (*Why.INVALID.said, 6)
