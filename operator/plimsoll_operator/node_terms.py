"""Which nodes a plan's pods may go to, by the labels that its pools were derived from. Pure: called by `render`.

Knows no pod and no spec: what a user asks of nodes beside is laid over by `overlay`.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.api import MAX_LABEL_VALUE, Manifest
from plimsoll_operator.names import (
    GKE_LABEL,
    GKE_PARTITION_LABEL,
    GKE_SHARING_LABEL,
    MIG_RESOURCE_PREFIX,
    PRODUCT_LABEL,
    SHARING_LABEL,
)
from plimsoll_operator.verdict import Plan

_SHARED: Final = ("mps", "time-slicing")


def node_affinity(plan: Plan) -> Manifest:
    """One term for each way the plan's nodes are labelled: terms are alternatives, so each is complete in itself."""
    terms = [{"matchExpressions": _expressions(plan, wanted)} for wanted in _alternatives(plan)]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}


def _alternatives(plan: Plan) -> list[dict[str, list[str]]]:
    """Label keys and the values that do, sets of one and the same single key taken together."""
    if not plan.node_selectors:
        products = set(plan.gpu_products or (plan.product,))
        if plan.gpu_resource.startswith(MIG_RESOURCE_PREFIX):
            return [{f"{plan.gpu_resource}.product": sorted(products)}]
        if plan.sharing in _SHARED:
            # GPU feature discovery appends -SHARED to the product unless the resource is renamed; no label is longer than this.
            products |= {shared for product in products if len(shared := f"{product}-SHARED") <= MAX_LABEL_VALUE}
        return [{PRODUCT_LABEL: sorted(products)}]
    single: dict[str, set[str]] = {}
    several: list[dict[str, list[str]]] = []
    for pairs in plan.node_selectors:
        if len(pairs) == 1:
            single.setdefault(pairs[0][0], set()).add(pairs[0][1])
        else:
            several.append({key: [value] for key, value in pairs})
    return [{key: sorted(values)} for key, values in sorted(single.items())] + several


def _expressions(plan: Plan, wanted: dict[str, list[str]]) -> list[Manifest]:
    found: list[Manifest] = [{"key": key, "operator": "In", "values": values} for key, values in sorted(wanted.items())]
    if GKE_LABEL in wanted:
        # GKE labels only nodes whose GPUs are shared or cut: a label that the plan's own nodes lack must be lacking.
        found += [{"key": key, "operator": "DoesNotExist"} for key in (GKE_PARTITION_LABEL, GKE_SHARING_LABEL) if key not in wanted]
    if plan.sharing not in _SHARED:
        # Whole GPUs and slices: a time-sliced card of the same product would be shared with strangers. Nodes without the label pass.
        found.append({"key": SHARING_LABEL, "operator": "NotIn", "values": list(_SHARED)})
    elif PRODUCT_LABEL in wanted:
        found.append({"key": SHARING_LABEL, "operator": "In", "values": [plan.sharing]})
    return found
