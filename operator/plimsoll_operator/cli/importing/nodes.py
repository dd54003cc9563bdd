"""Which nodes a pod asks for, laid into spec.placement: labels with one value, products of GPUs, tolerations, a cloud's machine.

Called by `pod` and the translators. What is only preferred, or about other pods, is spec.template's.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.capacity.clouds import INSTANCE_TYPE_LABEL
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.read import Part
from plimsoll_operator.names import PRODUCT_LABEL
from plimsoll_operator.text import one_line

_PRODUCTS: Final = "spec.placement.gpuProducts"
_ONE_VALUE: Final = "of what is required of nodes only labels with one value are: say in spec.placement which nodes may be used"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def lay_nodes(draft: Draft, pod: Part) -> None:
    """Selector, affinity and tolerations."""
    for key, (value, source) in pod.texts("nodeSelector").items():
        lay_label(draft, key, value, source)
    affinity = pod.part("affinity")
    required = affinity.part("nodeAffinity", _REQUIRED)
    lay_node_terms(draft, required, "nodeSelectorTerms")
    if affinity.part("nodeAffinity").has(_PREFERRED):
        source = affinity.part("nodeAffinity").at(_PREFERRED)
        draft.merge("spec.template.affinity", "nodeAffinity", {_PREFERRED: affinity.part("nodeAffinity").take(_PREFERRED)}, source)
    for key in ("podAffinity", "podAntiAffinity"):
        if affinity.has(key):
            draft.merge("spec.template.affinity", key, affinity.take(key), affinity.at(key))
    for toleration in pod.entries("tolerations"):
        draft.add("spec.placement.tolerations", toleration.take_all(), toleration.path)


def lay_label(draft: Draft, key: str, value: str, source: str) -> None:
    """One label that nodes must have."""
    if key == PRODUCT_LABEL:
        _lay_products(draft, [value], source)
    else:
        draft.merge("spec.placement.nodeSelector", key, value, source)


def lay_instance_type(draft: Draft, resource: Part) -> None:
    """A cloud's machine as a label of its nodes."""
    instance = resource.text("instanceType")
    if instance is not None:
        lay_label(draft, INSTANCE_TYPE_LABEL, instance, resource.at("instanceType"))


def lay_node_terms(draft: Draft, part: Part, key: str) -> None:
    """The expressions of one term of node affinity: products, and labels that must have one value. Of several terms one must hold."""
    terms = part.entries(key)
    if len(terms) > 1:
        draft.lost(part.at(key), f"is not carried over, of several terms one must hold: {_ONE_VALUE}")
        return
    for term in terms:
        for row in term.entries("matchExpressions"):
            name, values = row.peek("key"), row.peek("values")
            listed = [str(value) for value in values] if isinstance(values, list) else []
            if row.peek("operator") != "In" or not isinstance(name, str) or not (len(listed) == 1 or (listed and name == PRODUCT_LABEL)):
                draft.lost(row.path, f"is not carried over: {_ONE_VALUE}")
                continue
            for taken in ("key", "operator", "values"):
                row.take(taken)
            if name == PRODUCT_LABEL:
                _lay_products(draft, listed, row.at("values"))
            else:
                lay_label(draft, name, listed[0], row.at("values"))


def _lay_products(draft: Draft, products: list[str], source: str) -> None:
    before = draft.entries(_PRODUCTS)
    for product in products:
        if not before:
            draft.add(_PRODUCTS, product, source)
        elif product not in before:
            draft.lost(
                source, f"{one_line(product, 80)} is not carried over: {', '.join(map(str, before))} is asked for too, and both must hold"
            )
