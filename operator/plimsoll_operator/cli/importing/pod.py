"""The pod around the engine laid into spec.template and spec.placement: containers, nodes, accounts, probes, whatever the API has.

Called by `server`. A key that spec.template has under Kubernetes' own name goes there as it is, and the API judges it; what the plan
makes itself is taken where it says the same. What nobody takes here is named in the end. Knows no format and no argument of vLLM.
"""

from __future__ import annotations

from typing import Any, Final

from plimsoll_operator.api import PodSecurity, ProbeTuning, TemplateSpec, TopologySpread
from plimsoll_operator.api.parse import known_fields
from plimsoll_operator.api.template import OWNED_LABELS, OWNED_PREFIX
from plimsoll_operator.cli.importing.beside import NO_RIGHTS, lay_beside
from plimsoll_operator.cli.importing.draft import Draft
from plimsoll_operator.cli.importing.nodes import lay_nodes
from plimsoll_operator.cli.importing.read import Part
from plimsoll_operator.cli.importing.resources import lay_resources
from plimsoll_operator.cli.importing.same import take_of_metadata, take_same
from plimsoll_operator.cli.importing.secret_looks import secret_in, secret_name
from plimsoll_operator.cli.importing.volumes import Volumes
from plimsoll_operator.serving import DEFAULT_PORT

_TEMPLATE: Final = "spec.template"
_PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
_ELSEWHERE: Final = frozenset({
    "affinity", "containers", "imagePullSecrets", "initContainers", "nodeSelector", "priorityClassName", "schedulerName", "securityContext",
    "tolerations", "topologySpreadConstraints", "volumes", "name", "image", "command", "args", "env", "volumeMounts", "resources", "ports",
    *_PROBES,
})  # fmt: skip


def lay_metadata(draft: Draft, metadata: Part) -> None:
    """Labels and annotations of the pods: the plan's own are made anew."""
    take_of_metadata(metadata)
    for key, (value, source) in metadata.texts("labels").items():
        if key in OWNED_LABELS or key.startswith(OWNED_PREFIX):
            draft.lost(source, f"is the plan's own label: let selectors of yours ask for {OWNED_PREFIX}deployment instead")
        elif secret_in(value):
            draft.lost(source, "looks like a secret, which is not copied: name a Secret in spec.template.env")
        else:
            draft.merge(f"{_TEMPLATE}.labels", key, value, source)
    for key, (value, source) in metadata.texts("annotations").items():
        if secret_name(key) or secret_in(value):
            draft.lost(source, "looks like a secret, which is not copied: name a Secret in spec.template.env")
        elif key.startswith(OWNED_PREFIX):
            draft.lost(source, "is the plan's own annotation, and made anew: nothing is to be done")
        else:
            draft.merge(f"{_TEMPLATE}.annotations", key, value, source)


def lay_pod(draft: Draft, pod: Part, engine: Part, volumes: Volumes) -> None:
    """All of the pod but what the engine serves."""
    lay_nodes(draft, pod)
    for secret in pod.entries("imagePullSecrets"):
        draft.add(f"{_TEMPLATE}.imagePullSecrets", secret.text("name"), secret.path)
    _lay_security(draft, pod.part("securityContext"))
    _lay_engine(draft, engine)
    for container in pod.entries("initContainers"):
        lay_beside(draft, container, "initContainers", volumes)
    for container in pod.entries("containers"):
        if container.path != engine.path:
            lay_beside(draft, container, "sidecars", volumes)
    for row in pod.entries("topologySpreadConstraints"):
        draft.add(f"{_TEMPLATE}.topologySpreadConstraints", {key: row.take(key) for key in row.fields if key in _SPREAD}, row.path)
    for key in ("priorityClassName", "schedulerName"):
        if pod.peek(key) not in ("", "default-scheduler"):
            draft.put(f"spec.placement.{key}", pod.take(key), pod.at(key))
    take_same(pod)
    _lay_others(draft, pod)


def _lay_engine(draft: Draft, container: Part) -> None:
    lay_resources(draft, container)
    _lay_security(draft, container.part("securityContext"))
    port = draft.get("spec.engine.port") or DEFAULT_PORT
    names: list[Any] = [port]
    for row in container.entries("ports"):
        if row.peek("containerPort") == port and not row.has("hostPort"):
            names.append(row.text("name"))
            row.take("containerPort")
            if row.peek("protocol") == "TCP":
                row.take("protocol")
    for key in _PROBES:
        _lay_probe(draft, container.part(key), key, names)
    container.text("name")
    take_same(container)
    _lay_others(draft, container)


def _lay_probe(draft: Draft, probe: Part, key: str, ports: list[Any]) -> None:
    """How often and how long the kubelet asks. What it asks is the plan's: taken where it is the same."""
    asked = probe.part("httpGet")
    if asked.peek("path") == "/health" and asked.peek("port") in ports:
        asked.take("path")
        asked.take("port")
        if asked.peek("scheme") == "HTTP":
            asked.take("scheme")
    found = {name: probe.take(name) for name in known_fields(ProbeTuning) if probe.has(name)}
    draft.put(f"{_TEMPLATE}.{key}", found or None, probe.path)
    take_same(probe)


def _lay_others(draft: Draft, part: Part) -> None:
    """Keys that nothing else looks at, to the field of that name."""
    known = known_fields(TemplateSpec)
    for key in part.fields:
        if key in known and key not in _ELSEWHERE and part.at(key) not in part.ledger.taken:
            draft.put(f"{_TEMPLATE}.{key}", part.take(key), part.at(key))


def _lay_security(draft: Draft, security: Part) -> None:
    """As whom the processes run. What Pod Security's restricted profile asks for is there anyway."""
    for key in security.fields:
        if key in known_fields(PodSecurity) and security.peek(key) != NO_RIGHTS.get(key):
            draft.put(f"{_TEMPLATE}.securityContext.{key}", security.take(key), security.at(key))
        elif key in NO_RIGHTS and security.peek(key) == NO_RIGHTS[key]:
            security.take(key)
        else:
            draft.lost(security.at(key), "is not carried over: engine pods have no privileges and no capabilities; vLLM serves without")


_SPREAD: Final = known_fields(TopologySpread)
