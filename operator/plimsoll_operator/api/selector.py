"""Label selectors as in Kubernetes: of namespaces in a FitPolicy, of pods in spec.template.affinity."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from plimsoll_operator.api.base import ApiModel, LabelKey, LabelMap, LabelText, Rule


class SelectorRequirement(ApiModel):
    """One expression of a label selector."""

    key: LabelKey
    """Label key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the values are compared."""
    values: Annotated[tuple[LabelText, ...], Field(max_length=64)] = ()
    """Values of In and NotIn."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            holds=lambda r: (r.operator in ("In", "NotIn")) == bool(r.values),
            message="In and NotIn need values, Exists and DoesNotExist have none",
            field=".values",
        ),
    )


class LabelSelector(ApiModel):
    """A label selector, as in Kubernetes; an empty one matches everything."""

    match_labels: LabelMap = Field(default_factory=dict)
    """Labels that must be equal."""
    match_expressions: Annotated[tuple[SelectorRequirement, ...], Field(max_length=16)] = ()
    """Expressions that must all hold."""

    CLOSED: ClassVar[bool] = True
