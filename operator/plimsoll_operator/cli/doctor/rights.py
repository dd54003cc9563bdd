"""Whether the accounts of controller and webhook may do what they do all the time: asked of the API server, account by account.

Called by `seen`. What the two need in full is in the chart; here is enough of it that a binding or a rule that is gone is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from plimsoll_operator.ports import (
    CLUSTER_MODEL_PROFILES,
    DEPLOYMENTS,
    ENGINE_CALIBRATIONS,
    EVENTS,
    FIT_POLICIES,
    GPU_POOLS,
    INFERENCE_DEPLOYMENTS,
    MODEL_PROFILES,
    NAMESPACES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    SERVICES,
    Account,
    Kube,
    Resource,
)

Right: TypeAlias = tuple[str, Resource, str]
"""Verb, kind and subresource, in all namespaces."""
_DECIDED_BY: Final = (
    INFERENCE_DEPLOYMENTS,
    MODEL_PROFILES,
    CLUSTER_MODEL_PROFILES,
    GPU_POOLS,
    FIT_POLICIES,
    ENGINE_CALIBRATIONS,
    NAMESPACES,
)
_READ: Final[tuple[Right, ...]] = tuple((verb, kind, "") for kind in _DECIDED_BY for verb in ("list", "watch"))
_MADE: Final = (DEPLOYMENTS, SERVICES, POD_DISRUPTION_BUDGETS, GPU_POOLS)
NEEDED: Final[Mapping[str, tuple[Right, ...]]] = {
    "controller": (
        *_READ,
        ("list", NODES, ""),
        ("patch", INFERENCE_DEPLOYMENTS, "status"),
        *((verb, kind, "") for kind in _MADE for verb in ("list", "create", "patch", "delete")),
        ("create", EVENTS, ""),
    ),
    "webhook": _READ,
}


def missing_rights(kube: Kube, release: str, namespace: str) -> Mapping[str, tuple[str, ...]]:
    """What the account of each component may not do, in words; an account that may do all has none. Raises ApiFailure."""
    found = {}
    for component, needed in NEEDED.items():
        account = Account(namespace=namespace, name=f"{release}-{component}")
        denied = [right for right in needed if not kube.may(account, *right)]
        found[f"{account.namespace}/{account.name}"] = tuple(
            f"{verb} {kind.plural}{f'/{part}' if part else ''}" for verb, kind, part in denied
        )
    return found
