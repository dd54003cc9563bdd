"""The pod around the engine laid into spec.template and spec.placement: volumes, other containers, nodes, accounts, whatever the API has.

Called by `server`. A key that spec.template has under Kubernetes' own name goes there as it is, and the API judges it; what the plan
makes itself is passed over where it says the same, and named where it does not. Knows no format and no argument of vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from plimsoll_operator.api import Manifest, PodSecurity, Sidecar, TemplateSpec
from plimsoll_operator.api.parse import known_fields
from plimsoll_operator.api.template import OWNED_LABELS, OWNED_PREFIX
from plimsoll_operator.capacity.clouds import INSTANCE_TYPE_LABEL
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.env import lay_env
from plimsoll_operator.cli.importing.read import entries, mapping, text
from plimsoll_operator.cli.importing.secret_looks import secret_in, secret_name, secret_value
from plimsoll_operator.names import AMD_RESOURCE, GPU_RESOURCE, MIG_RESOURCE_PREFIX, PRODUCT_LABEL, SHARED_RESOURCE

_TEMPLATE: Final = "spec.template"
_GPUS: Final = (GPU_RESOURCE, SHARED_RESOURCE, AMD_RESOURCE)
_SAID_ELSEWHERE: Final = frozenset({"name", "image", "command", "args", "env", "volumeMounts", "resources", "securityContext"})
_SAME: Final[Mapping[str, tuple[Any, ...]]] = {
    "automountServiceAccountToken": (False,),
    "dnsPolicy": ("ClusterFirst",),
    "enableServiceLinks": (False, True),
    "hostIPC": (False,),
    "hostNetwork": (False,),
    "hostPID": (False,),
    "restartPolicy": ("Always",),
    "schedulerName": ("default-scheduler",),
    "serviceAccountName": ("default",),
    "stdin": (True, False),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
    "tty": (True, False),
}
"""Values that say what the pods of a plan are like anyway, or that nothing follows from."""
ADVICE: Final = {
    "envFrom": "list the variables in spec.template.env, each with valueFrom",
    "hostIPC": "the pods have a /dev/shm of their own, sized for their GPUs; nothing is to be done",
    "hostPID": "nothing of vLLM needs it; leave it out",
    "hostname": "the pods are reached by their Service, which has the deployment's name",
    "ports": "the plan's pods listen on spec.engine.port; another port of theirs needs a Service of yours",
    "resourceClaims": "GPUs are asked for by count; spec.placement.gpuProducts says which",
    "subdomain": "the pods are reached by their Service, which has the deployment's name",
    "volumeClaimTemplates": "make one claim yourself and name it in spec.template.volumes, or in spec.model.source",
    "workingDir": "write paths from the root on",
}
_HARMLESS: Final = frozenset({"lifecycle"})
"""Without these a container beside the engine does the same."""
_ONE_VALUE: Final = "of what is required of nodes only labels with one value are: say in spec.placement which nodes may be used"
_MOST_DEPTH: Final = 16


def advice(key: str) -> str:
    """What to do about a key of a pod that has no field."""
    return ADVICE.get(key, "no field of spec.template says this; leave it out, or keep the pods that need it as they are")


def gpus_of(container: Manifest) -> tuple[str, int] | None:
    """The resource that the container's GPUs are, and how many; None where it asks for none by count."""
    asked = mapping(container, "resources", "requests") | mapping(container, "resources", "limits")
    for name, value in asked.items():
        count = text(value)
        if (name in _GPUS or name.startswith(MIG_RESOURCE_PREFIX)) and count is not None and count.isdecimal() and len(count) <= 4:
            return name, int(count)
    return None


def lay_metadata(draft: Draft, metadata: Manifest, path: str) -> None:
    """Labels and annotations of the pods: the plan's own are made anew."""
    labels = {key: value for key, value in mapping(metadata, "labels").items() if not _owned(key)}
    draft.put(f"{_TEMPLATE}.labels", {key: str(value) for key, value in labels.items()} or None, f"{path}.labels")
    for key in mapping(metadata, "labels").keys() - labels.keys():
        draft.lost(f"{path}.labels", f"{key} is the plan's own label: let selectors of yours ask for {OWNED_PREFIX}deployment instead")
    kept = {}
    for key, value in mapping(metadata, "annotations").items():
        if secret_name(key) or secret_value(str(value)):
            draft.lost(f"{path}.annotations", f"{key} looks like a secret, which is not copied: name a Secret in spec.template.env")
        elif not key.startswith(OWNED_PREFIX):
            kept[key] = str(value)
    draft.put(f"{_TEMPLATE}.annotations", kept or None, f"{path}.annotations")


def _owned(key: str) -> bool:
    return key in OWNED_LABELS or key.startswith(OWNED_PREFIX)


def lay_pod(draft: Draft, pod: Manifest, path: str, engine: int, engine_path: str) -> None:
    """All keys of the pod but its volumes; `engine` is the place of the engine's container, `engine_path` its field."""
    handled = {"containers", "volumes", "nodeSelector", "affinity", "tolerations", "imagePullSecrets", "securityContext", "initContainers"}
    _lay_node_selector(draft, mapping(pod, "nodeSelector"), f"{path}.nodeSelector")
    _lay_affinity(draft, mapping(pod, "affinity"), f"{path}.affinity")
    for place, toleration in entries(pod.get("tolerations")):
        draft.add("spec.placement.tolerations", toleration, f"{path}.tolerations[{place}]")
    for place, secret in entries(pod.get("imagePullSecrets")):
        draft.add(f"{_TEMPLATE}.imagePullSecrets", secret.get("name"), f"{path}.imagePullSecrets[{place}]")
    _lay_security(draft, mapping(pod, "securityContext"), f"{path}.securityContext")
    for place, container in entries(pod.get("initContainers")):
        _lay_beside(draft, container, f"{path}.initContainers[{place}]", "initContainers")
    for place, container in entries(pod.get("containers")):
        if place == engine:
            _lay_engine(draft, container, engine_path)
        else:
            _lay_beside(draft, container, f"{path}.containers[{place}]", "sidecars")
    for key in ("priorityClassName", "schedulerName"):
        handled.add(key)
        if pod.get(key) not in (None, "", "default-scheduler"):
            draft.put(f"spec.placement.{key}", pod[key], f"{path}.{key}")
    _lay_others(draft, pod, path, handled)


def _lay_engine(draft: Draft, container: Manifest, path: str) -> None:
    _lay_resources(draft, container, path)
    _lay_security(draft, mapping(container, "securityContext"), f"{path}.securityContext")
    port = draft.get("spec.engine.port") or 8000
    ports = [row for _, row in entries(container.get("ports"))]
    only = all(row.get("containerPort") == port and "hostPort" not in row for row in ports)
    _lay_others(draft, container, path, _SAID_ELSEWHERE | ({"ports"} if only else set()))


def _lay_others(draft: Draft, part: Manifest, path: str, handled: set[str] | frozenset[str]) -> None:
    """Keys that nothing else looks at: to the field of that name, passed over, or said."""
    known = known_fields(TemplateSpec)
    for key, value in part.items():
        if key in handled or value in (None, "", [], {}) or any(value is same or value == same for same in _SAME.get(key, ())):
            continue
        if key in known:
            draft.put(f"{_TEMPLATE}.{key}", value, f"{path}.{key}")
        else:
            draft.lost(f"{path}.{key}", f"is not carried over: {advice(key)}")


def _lay_node_selector(draft: Draft, selector: Manifest, path: str) -> None:
    product = text(selector.pop(PRODUCT_LABEL, None))
    if product is not None:
        draft.add("spec.placement.gpuProducts", product, path)
    if selector:
        before = draft.get("spec.placement.nodeSelector") or {}
        draft.put("spec.placement.nodeSelector", before | {key: str(value) for key, value in selector.items()}, path)


def _lay_affinity(draft: Draft, affinity: Manifest, path: str) -> None:
    """Required node labels with one value, and GPU products; what is only preferred, or about other pods, is spec.template's."""
    required = mapping(affinity, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    terms = entries(required.get("nodeSelectorTerms"))
    said = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    if len(terms) == 1:
        lay_node_terms(draft, terms, said)
    elif terms:
        draft.lost(said, f"is not carried over, of several terms one must hold: {_ONE_VALUE}")
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    if rows := mapping(affinity, "nodeAffinity").get(preferred):
        _add_affinity(draft, "nodeAffinity", {preferred: rows}, f"{path}.nodeAffinity.{preferred}")
    for key in ("podAffinity", "podAntiAffinity"):
        if affinity.get(key):
            _add_affinity(draft, key, affinity[key], f"{path}.{key}")


def _add_affinity(draft: Draft, key: str, value: Any, path: str) -> None:
    field = f"{_TEMPLATE}.affinity"
    draft.put(field, (draft.get(field) or {}) | {key: value}, path)


def lay_node_terms(draft: Draft, terms: list[tuple[int, Manifest]], path: str) -> None:
    """The expressions of one term of node affinity: products, and labels that must have one value."""
    for place, term in terms[:1]:
        for at, row in entries(term.get("matchExpressions")):
            values, key = row.get("values"), text(row.get("key"))
            listed = [str(value) for value in values] if isinstance(values, list) else []
            if key == PRODUCT_LABEL and row.get("operator") == "In":
                for value in listed:
                    draft.add("spec.placement.gpuProducts", value, path)
            elif key is not None and row.get("operator") == "In" and len(listed) == 1:
                _lay_node_selector(draft, {key: listed[0]}, path)
            else:
                where = f"{path}.nodeSelectorTerms[{place}].matchExpressions[{at}]"
                draft.lost(where, f"is not carried over: {_ONE_VALUE}")


def lay_instance_type(draft: Draft, instance: str | None, path: str) -> None:
    """A cloud's machine as a label of its nodes."""
    if instance is not None:
        _lay_node_selector(draft, {INSTANCE_TYPE_LABEL: instance}, path)


def _lay_security(draft: Draft, security: Manifest, path: str) -> None:
    """As whom the processes run. What Pod Security's restricted profile asks for is there anyway."""
    same = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "privileged": False,
    }
    for key, value in security.items():
        if key in known_fields(PodSecurity):
            draft.put(f"{_TEMPLATE}.securityContext.{key}", value, f"{path}.{key}")
        elif key not in same or value != same[key]:
            draft.lost(f"{path}.{key}", "is not carried over: engine pods have no privileges and no capabilities; vLLM serves without")


def _lay_resources(draft: Draft, container: Manifest, path: str) -> None:
    """CPU and host memory as floors; Kubernetes takes a limit for the request where none is."""
    limits, requests = mapping(container, "resources", "limits"), mapping(container, "resources", "requests")
    asked = limits | requests
    for key in ("cpu", "memory"):
        where = "requests" if key in requests else "limits"
        value = asked.get(key)
        draft.put(f"{_TEMPLATE}.resources.{key}", value, f"{path}.resources.{where}.{key}")
    for key in asked:
        if key in ("cpu", "memory", "ephemeral-storage", *_GPUS) or key.startswith(MIG_RESOURCE_PREFIX):
            continue
        where = "requests" if key in requests else "limits"
        draft.lost(f"{path}.resources.{where}", f"{key} is not carried over: engine pods ask for GPUs, CPU, memory and storage")


def _commands_in(value: object, depth: int = _MOST_DEPTH) -> Iterator[str]:
    """Every list of words and every text below: commands, arguments, hooks and probes. What lies deeper the API refuses."""
    if depth == 0:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield " ".join(one for one in value if isinstance(one, str))
        for one in value:
            yield from () if isinstance(one, str) else _commands_in(one, depth - 1)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _commands_in(one, depth - 1)


def _lay_beside(draft: Draft, container: Manifest, path: str, field: str) -> None:
    """A container beside the engine, or before it, where the API has the list and what the container cannot do without."""
    known = known_fields(known_fields(TemplateSpec).get(field) or Sidecar)
    name = text(container.get("name")) or "a container"
    missing = sorted(key for key, value in container.items() if key not in known and value not in (None, "", [], {}, False))
    needed = [key for key in missing if key not in _HARMLESS and key not in ("stdin", "tty", "env", "resources")]
    if needed:
        draft.lost(path, f"{name} is not carried over, {field} cannot say {', '.join(needed)}: run it in a pod of its own, or in the image")
        return
    made = {key: value for key, value in container.items() if key in known}
    if any(secret_in(words) for words in _commands_in({key: value for key, value in made.items() if key != "env"})):
        draft.lost(path, f"{name} is not carried over, a secret stands in its command: give it by a Secret in its env")
        return
    if "env" in container:
        made["env"] = lay_env(draft, container, path)
    made["resources"] = {key: value for key, value in mapping(container, "resources", "requests").items() if key in ("cpu", "memory")}
    for key in missing:
        draft.lost(f"{path}.{key}", f"of {name} is not carried over: the container does the same without")
    draft.add(f"{_TEMPLATE}.{field}", {key: value for key, value in made.items() if value not in ({}, [])}, path)
