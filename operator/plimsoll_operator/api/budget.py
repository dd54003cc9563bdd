"""How many replicas may be taken away on purpose at once: the budget that keeps a drain from emptying a deployment. Read by rendering."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from plimsoll_operator.api.base import ApiModel, Rule, exactly_one, text_quantity

_PATTERN: Final = r"^([0-9]{1,5}|(100|[0-9]{1,2})%)$"
_MOST: Final = 10_000
Replicas = Annotated[
    str,
    Field(pattern=_PATTERN, max_length=5),
    BeforeValidator(text_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": _PATTERN, "maxLength": 5, "minimum": 0, "maximum": _MOST}),
]
"""A number of replicas, or a share of them ("50%"); kept as text."""


class PodDisruptionBudget(ApiModel):
    """How many replicas node drains and other evictions may take at once: exactly one of the fields. Pods that fail by themselves, and
    updates, are not held by it; pods that are not ready may always be evicted."""

    min_available: Replicas | None = None
    """Replicas that stay, or their share."""
    max_unavailable: Replicas | None = None
    """Replicas that may be missing, or their share."""

    RULES: ClassVar[tuple[Rule, ...]] = (exactly_one("minAvailable", "maxUnavailable"),)
