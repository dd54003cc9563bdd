"""The PodDisruptionBudget of a deployment: what of it counts, and what to patch where somebody has changed it.

Used by the caches, which keep a digest of it, and by the children. What others add in labels and annotations is theirs. Pure.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import digest_of

_FIELDS: Final = ("minAvailable", "maxUnavailable", "selector", "unhealthyPodEvictionPolicy")


def holds_back(budget: Manifest) -> str:
    """Digest of which pods the budget is of, and how many of them it keeps."""
    spec = budget.get("spec") or {}
    return digest_of({field: spec[field] for field in _FIELDS if spec.get(field) is not None})


def restored(bent: Manifest, wanted: Manifest) -> Manifest:
    """The merge patch that makes a budget hold what the wanted one holds. An apply would leave what others have added."""
    spec = bent.get("spec") or {}
    selector, right = spec.get("selector") or {}, wanted["spec"]["selector"]["matchLabels"]
    added = {key: None for key in selector.get("matchLabels") or {} if key not in right}
    patch: Manifest = {field: wanted["spec"].get(field) for field in _FIELDS}
    patch["selector"] = {"matchLabels": {**added, **right}, "matchExpressions": None}
    return {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": patch}
