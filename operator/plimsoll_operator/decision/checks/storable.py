"""What the API server would refuse of the objects that a spec is rendered to, where no schema can say so: an object once admitted has pods.

Called by the checks before any arithmetic. Keys, names and values on their own are the API types' business. Sources: Kubernetes'
core validation (ValidatePodSpecificAnnotations, validateTopologySpreadConstraints, validateLifecycle, validatePodAffinityTerm) and etcd's
largest request of 1.5 MiB. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from plimsoll_operator.api import InferenceDeploymentSpec, TemplateSpec
from plimsoll_operator.api.base import is_key
from plimsoll_operator.quantity import parse_quantity
from plimsoll_operator.text import one_line
from plimsoll_operator.verdict import Reason, Reject

MAX_POD_BYTES: Final = 256 << 10
"""Of spec.template and engine.extraArgs as JSON: a LeaderWorkerSet has them twice, beside a plan and the record of who wrote what."""
_NEVER: Final[Mapping[str, str]] = {
    "kubernetes.io/config.mirror": "says that a kubelet has the pod from a file, which no pod of a deployment is",
    "scheduler.alpha.kubernetes.io/tolerations": "is read as JSON by the API server: use spec.placement.tolerations",
}
_PAGE_BYTES: Final = {"hugepages-2Mi": 2 << 20, "hugepages-1Gi": 1 << 30}
_MOST_SHOWN: Final = 64
_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,9}")
_LARGEST: Final = (1 << 31) - 1
# What Go's encoder writes as six characters and Python's as one.
_ESCAPED: Final = "<>&"
_NUL: Final = "\\u0000"


def refused_by_the_api_server(spec: InferenceDeploymentSpec) -> Reject | None:
    """The first thing that would have every apply of the children refused."""
    template = spec.template or TemplateSpec()
    text = _text_of(spec)
    problem = (_nul(spec) if _NUL in text else None) or (
        _annotations(template) or _spread_twice(template) or _devices(template) or _sleeps_too_long(template) or _affinity_key(template)
    )
    if problem is not None:
        return problem
    size = len(text) + 5 * sum(text.count(letter) for letter in _ESCAPED)
    if size > MAX_POD_BYTES:
        message = (
            f"spec.template and engine.extraArgs take {size} bytes as JSON: at most {MAX_POD_BYTES} are stored in what is made of them."
        )
        return _refused("spec.template", message)
    return None


def _nul(spec: InferenceDeploymentSpec) -> Reject | None:
    """The API server keeps a NUL character in any text, and no process can be given an argument, a variable or a path with one."""
    rows: list[tuple[str, Any]] = [("spec", spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True))]
    while rows:
        path, value = rows.pop(0)
        if isinstance(value, str) and "\0" in value:
            return _refused(path, f"{path} holds a NUL character, which no argument, variable or path can: leave it out.")
        if isinstance(value, dict):
            rows += [(f"{path}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list):
            rows += [(f"{path}[{place}]", inner) for place, inner in enumerate(value)]
    return None


def _annotations(template: TemplateSpec) -> Reject | None:
    annotations = template.annotations
    for key in sorted(annotations):
        if key in _NEVER:
            return _refused("spec.template.annotations", f"Annotation {key} {_NEVER[key]}.")
        if key == _COST and not _is_a_cost(annotations[key]):
            given = json.dumps(annotations[key][:32])
            message = f"Annotation {key} must be a whole number from {-_LARGEST - 1} to {_LARGEST}, not {given}."
            return _refused("spec.template.annotations", message)
    return None


def _spread_twice(template: TemplateSpec) -> Reject | None:
    seen: set[tuple[str, str]] = set()
    for place, one in enumerate(template.topology_spread_constraints):
        pair = one.topology_key, one.when_unsatisfiable
        if pair in seen:
            field = f"spec.template.topologySpreadConstraints[{place}]"
            return _refused(field, f"{field} has the topologyKey and whenUnsatisfiable of another one: leave one of them out.")
        seen.add(pair)
    return None


def _devices(template: TemplateSpec) -> Reject | None:
    """Names of resources are qualified names, and huge pages come whole."""
    field = "spec.template.resources.devices"
    for name, count in (template.resources.devices if template.resources is not None else {}).items():
        if not is_key(name):
            return _refused(field, f"{field} {name} is no name of a resource: it begins and ends with a letter or a digit.")
        page = _PAGE_BYTES.get(name)
        if page is not None and parse_quantity(count) % page:
            return _refused(field, f"{field} {name}: {count} is no multiple of a page of {page >> 20} MiB.")
    return None


def _sleeps_too_long(template: TemplateSpec) -> Reject | None:
    hook = template.lifecycle.pre_stop if template.lifecycle is not None else None
    most = template.termination_grace_period_seconds
    if hook is None or hook.sleep is None or most is None or hook.sleep.seconds <= most:
        return None
    field = "spec.template.lifecycle.preStop.sleep.seconds"
    return _refused(field, f"{field} {hook.sleep.seconds} is more than the {most} of spec.template.terminationGracePeriodSeconds.")


def _affinity_key(template: TemplateSpec) -> Reject | None:
    if template.affinity is None:
        return None
    bad = next(
        (key for key in _keys_in(template.affinity.model_dump(mode="json", by_alias=True, exclude_none=True)) if not is_key(key)), None
    )
    field = "spec.template.affinity"
    limit = "a DNS name of at most 253 characters and a slash where wanted, then at most 63 of letters, digits, -, _ and ."
    return None if bad is None else _refused(field, f"{field} has a key that is no label's, {one_line(bad, _MOST_SHOWN)}: {limit}")


def _keys_in(value: object) -> Iterator[str]:
    """Label keys of all selectors, expressions and places below. The types bound how many there are, and how deep."""
    if isinstance(value, list):
        for one in value:
            yield from _keys_in(one)
    elif isinstance(value, dict):
        yield from (value[name] for name in ("key", "topologyKey") if isinstance(value.get(name), str))
        for name, inner in value.items():
            yield from inner if name == "matchLabels" else _keys_in(inner)


def _refused(field: str, message: str) -> Reject:
    return Reject(reason=Reason.INVALID_SPEC, message=message, field=field)


def _is_a_cost(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and -_LARGEST - 1 <= int(text) <= _LARGEST


def _text_of(spec: InferenceDeploymentSpec) -> str:
    template = spec.template or TemplateSpec()
    source = spec.model.source
    parts = [one.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True) for one in (template, source) if one]
    return json.dumps([parts, spec.engine.extra_args])
