"""How many replicas may be taken away on purpose at once: the budget that keeps a drain from emptying a deployment. Read by rendering."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from plimsoll_operator.api.base import ApiModel, Rule, exactly_one, text_quantity

_PATTERN: Final = "^([0-9]{1,4}|10000|(100|[0-9]{1,2})%)$"
_MOST: Final = 10_000
Replicas = Annotated[
    str,
    Field(max_length=32),
    BeforeValidator(text_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32}),
]
"""A number of replicas, or a share of them ("50%"); kept as text."""


def _counts(field: str, name: str) -> Rule:
    """That it is one of the two; a number is one whether or not it is written as text."""
    return Rule(
        cel=f"!has(self.{field}) || (type(self.{field}) == int ? self.{field} >= 0 && self.{field} <= {_MOST}"
        f" : self.{field}.matches('{_PATTERN}'))",
        holds=lambda value: (said := getattr(value, name)) is None or re.fullmatch(_PATTERN, said) is not None,
        message=f"must be a number of replicas, such as 1, at most {_MOST}, or a share of them, such as 50%",
        field=f".{field}",
    )


class PodDisruptionBudget(ApiModel):
    """How many replicas node drains and other evictions may take at once: exactly one of the fields. Pods that fail by themselves, and
    updates, are not held by it; pods that are not ready may always be evicted."""

    min_available: Replicas | None = None
    """Replicas that stay, or their share."""
    max_unavailable: Replicas | None = None
    """Replicas that may be missing, or their share."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        exactly_one("minAvailable", "maxUnavailable"),
        _counts("minAvailable", "min_available"),
        _counts("maxUnavailable", "max_unavailable"),
    )
