"""Words of a command line while it is worked out: which of them nobody here knows, what the kubelet puts in, and how long they may get.

Called by `command_line`, `shell` and `env`. Source: Kubernetes, "Define Dependent Environment Variables".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import InvalidInput

_MOST_CHARACTERS: Final = 1 << 18
_KUBELETS: Final = re.compile(r"\$(\$|\(([A-Za-z_][-A-Za-z0-9_.]*)\))")


class Unknown(str):
    """A word that names a variable, or the output of a command, that nobody here knows: as it is written."""

    __slots__ = ()


@dataclass(slots=True)
class Budget:
    """Characters that the variables and words of one container may come to: one may say another twice, again and again."""

    field: str
    left: int = _MOST_CHARACTERS

    def spend(self, characters: int) -> None:
        """Raises InvalidInput naming the field."""
        self.left -= characters
        if self.left < 0:
            raise InvalidInput(self.field, None, f"comes to more than {_MOST_CHARACTERS} characters once its variables are put in")


def of_the_kubelet(word: str, env: Mapping[str, str], budget: Budget) -> str:
    """$(NAME) becomes the variable's value, and $$ one dollar; a word with a name that is none is Unknown, as it is written.

    Raises InvalidInput where that gets too long.
    """
    budget.spend(len(word))
    known = True
    made: list[str] = []
    end = 0
    for found in _KUBELETS.finditer(word):
        value = "$" if found[1] == "$" else env.get(found[2])
        known = known and value is not None
        budget.spend(len(value or ""))
        made += (word[end : found.start()], found[0] if value is None else value)
        end = found.end()
    text = "".join((*made, word[end:]))
    return text if known else Unknown(text)
