"""What the API server would refuse of the objects that a spec is rendered to, where no schema can say so: an object once admitted has pods.

Called by the checks before any arithmetic. Keys, names and values on their own are the API types' business. Sources: Kubernetes'
core validation (ValidatePodSpecificAnnotations) and etcd's largest request of 1.5 MiB. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from plimsoll_operator.api import InferenceDeploymentSpec, TemplateSpec
from plimsoll_operator.verdict import Reason, Reject

MAX_POD_BYTES: Final = 256 << 10
"""Of spec.template and engine.extraArgs as JSON: a LeaderWorkerSet has them twice, beside a plan and the record of who wrote what."""
_NEVER: Final[Mapping[str, str]] = {
    "kubernetes.io/config.mirror": "says that a kubelet has the pod from a file, which no pod of a deployment is",
    "scheduler.alpha.kubernetes.io/tolerations": "is read as JSON by the API server: use spec.placement.tolerations",
}
_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,9}")
_LARGEST: Final = (1 << 31) - 1
# What Go's encoder writes as six characters and Python's as one.
_ESCAPED: Final = "<>&"


def refused_by_the_api_server(spec: InferenceDeploymentSpec) -> Reject | None:
    """The first thing that would have every apply of the children refused."""
    annotations = spec.template.annotations if spec.template is not None else {}
    for key in sorted(annotations):
        if key in _NEVER:
            return _refused("spec.template.annotations", f"Annotation {key} {_NEVER[key]}.")
        if key == _COST and not _is_a_cost(annotations[key]):
            given = json.dumps(annotations[key][:32])
            message = f"Annotation {key} must be a whole number from {-_LARGEST - 1} to {_LARGEST}, not {given}."
            return _refused("spec.template.annotations", message)
    size = _bytes_of(spec)
    if size > MAX_POD_BYTES:
        message = (
            f"spec.template and engine.extraArgs take {size} bytes as JSON: at most {MAX_POD_BYTES} are stored in what is made of them."
        )
        return _refused("spec.template", message)
    return None


def _refused(field: str, message: str) -> Reject:
    return Reject(reason=Reason.INVALID_SPEC, message=message, field=field)


def _is_a_cost(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and -_LARGEST - 1 <= int(text) <= _LARGEST


def _bytes_of(spec: InferenceDeploymentSpec) -> int:
    template = spec.template or TemplateSpec()
    text = json.dumps([template.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True), spec.engine.extra_args])
    return len(text) + 5 * sum(text.count(letter) for letter in _ESCAPED)
