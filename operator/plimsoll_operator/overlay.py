"""The user's bounded overlay on the generated pod: spec.template laid over what the plan needs, which it can add to and never undo.

Called by `render` for every pod template it makes, and by the decision for what the overlay adds to the pod's host needs.
Pure; what may not be set at all is refused by the API types.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import MIB, ceil_div
from plimsoll_operator.api import (
    Affinity,
    EngineResources,
    EnvVar,
    Manifest,
    PodSecurity,
    ResourceLimits,
    Sidecar,
    TemplateResources,
    TemplateSpec,
    TopologySpread,
    Volume,
)
from plimsoll_operator.names import NAME_LABEL
from plimsoll_operator.pod import COMPILE_MOUNT
from plimsoll_operator.quantity import parse_millis, parse_quantity

COMPILE_VOLUME: Final = "compile-cache"
_CACHE_VARIABLES: Final = frozenset({"HOME", "VLLM_CACHE_ROOT", "XDG_CACHE_HOME"})
RESTRICTED: Final[Manifest] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


_NO_GPU: Final[Manifest] = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
"""nvidia-container-toolkit, "Docker specialized configurations": void is the same as no variable, and no image says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostExtra:
    """What the overlay asks of the node: floors for the engine's own container, and what sidecars take beside it.

    `memory_volumes_bytes` are files in memory, which count with the engine that writes them. `init_*` is what the largest container that
    runs before the engine asks for, with the sidecars that are there by then: a floor for the whole pod.
    """

    memory_floor_bytes: int = 0
    cpu_floor_millis: int = 0
    sidecar_memory_bytes: int = 0
    sidecar_cpu_millis: int = 0
    memory_volumes_bytes: int = 0
    init_memory_bytes: int = 0
    init_cpu_millis: int = 0

    def engine_memory_bytes(self, computed: int) -> int:
        """Memory request of the engine's container: upward only."""
        return max(computed + self.memory_volumes_bytes, self.memory_floor_bytes)

    def engine_cpu_millis(self, computed: int) -> int:
        """CPU request of the engine's container: upward only."""
        return max(computed, self.cpu_floor_millis)

    def pod_memory_bytes(self, computed: int) -> int:
        """What all containers of the pod ask for, from what was computed for the engine's."""
        return max(self.engine_memory_bytes(computed) + self.sidecar_memory_bytes, self.init_memory_bytes)

    def pod_cpu_millis(self, computed: int) -> int:
        """The same of CPU."""
        return max(self.engine_cpu_millis(computed) + self.sidecar_cpu_millis, self.init_cpu_millis)


def host_extra(template: TemplateSpec | None) -> HostExtra:
    """Read once from the template; quantities rounded up."""
    if template is None:
        return HostExtra()
    memory, cpu = _amounts(template.resources.model_copy(update={"limits": None}) if template.resources is not None else None)
    beside = [_amounts(sidecar.resources) for sidecar in template.sidecars]
    before: list[tuple[int, int]] = []
    stays = (0, 0)
    for one in template.init_containers:
        own = _amounts(one.resources)
        before.append((stays[0] + own[0], stays[1] + own[1]))
        if one.restart_policy is not None:
            stays = before[-1]
    beside.append(stays)
    in_memory = [one.empty_dir.size_limit for one in template.volumes if one.empty_dir is not None and one.in_memory]
    return HostExtra(
        memory_floor_bytes=memory,
        cpu_floor_millis=cpu,
        sidecar_memory_bytes=sum(row[0] for row in beside),
        sidecar_cpu_millis=sum(row[1] for row in beside),
        memory_volumes_bytes=sum(parse_quantity(size) for size in in_memory if size is not None),
        init_memory_bytes=max((row[0] for row in before), default=0),
        init_cpu_millis=max((row[1] for row in before), default=0),
    )


def one_form(path: str) -> str:
    """A mount path as the kernel sees it: one slash at a time, no dots, none at the end. (normpath leaves two slashes at the start.)"""
    return posixpath.normpath("/" + path.lstrip("/"))


def keeps_compiled_files(template: TemplateSpec | None) -> bool:
    """Whether the overlay says where compiled graphs and kernels lie: by a volume at, above or below their place, or by a variable."""
    if template is None:
        return False
    named = any(volume.name == COMPILE_VOLUME or touches(one_form(volume.mount_path), COMPILE_MOUNT) for volume in template.volumes)
    return named or any(variable.name in _CACHE_VARIABLES for variable in template.env)


def touches(path: str, own: str) -> bool:
    """Whether a mount at one path, in its one form, lies at, below or above the other."""
    return path == own or path.startswith(f"{own}/") or own.startswith(f"{path.rstrip('/')}/")


def _amounts(resources: TemplateResources | None) -> tuple[int, int]:
    """Memory and CPU of a container as the scheduler counts them: where only a limit is said, the API server takes it for the request."""
    if resources is None:
        return 0, 0
    limits = resources.limits or ResourceLimits()
    memory, cpu = resources.memory or limits.memory, resources.cpu or limits.cpu
    return parse_quantity(memory) if memory is not None else 0, parse_millis(cpu) if cpu is not None else 0


def lay_over(pod_template: Manifest, template: TemplateSpec | None, pod_form: int) -> Manifest:
    """The pod template with the overlay on it. The first container is the engine's; what is already there stays.

    `pod_form` is the plan's: sidecars of plans before 2 are as they were rendered then.
    """
    if template is None:
        return pod_template
    metadata, spec = dict(pod_template["metadata"]), dict(pod_template["spec"])
    metadata["labels"] = {**template.labels, **metadata.get("labels", {})}
    if template.annotations:
        metadata["annotations"] = {**template.annotations, **metadata.get("annotations", {})}
    if template.security_context is not None:
        spec["securityContext"] = {**spec.get("securityContext", {}), **_security(template.security_context)}
    engine, *others = spec["containers"]
    spec["containers"] = [_engine(engine, template), *others, *(_sidecar(one, blind=pod_form >= 2) for one in template.sidecars)]
    if template.init_containers:
        spec["initContainers"] = [_sidecar(one, blind=True) for one in template.init_containers]
    if template.shared_memory_size is not None:
        spec["volumes"] = [_shared(one, template.shared_memory_size) for one in spec["volumes"]]
    if template.volumes:
        spec["volumes"] = [*spec.get("volumes", []), *(_volume(one) for one in template.volumes)]
    if template.host_network:
        spec |= _on_the_host(spec)
    return {"metadata": metadata, "spec": _where_it_goes(spec, metadata["labels"][NAME_LABEL], template)}


def _where_it_goes(pod: Manifest, name: str, template: TemplateSpec) -> Manifest:
    """Nodes, runtime and account of the pod, and whose registries it pulls from."""
    spec = dict(pod)
    if template.affinity is not None:
        spec["affinity"] = _affinity(spec["affinity"], template.affinity)
    if template.runtime_class_name is not None:
        spec["runtimeClassName"] = template.runtime_class_name
    if template.service_account_name is not None:
        spec["serviceAccountName"] = template.service_account_name
        # Who names an account wants what it may do; without one the pod has no token at all.
        spec.pop("automountServiceAccountToken", None)
    if template.topology_spread_constraints:
        spec["topologySpreadConstraints"] = [_spread(one, {NAME_LABEL: name}) for one in template.topology_spread_constraints]
    if template.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in template.image_pull_secrets]
    return spec


def _on_the_host(pod: Manifest) -> Manifest:
    """Ports are the node's, and said to be: kube-scheduler then puts no two pods with one port on a node."""

    def ported(container: Manifest) -> Manifest:
        ports = [{**port, "hostPort": port["containerPort"]} for port in container.get("ports") or ()]
        return {**container, "ports": ports} if ports else container

    named: Manifest = {part: [ported(one) for one in pod[part]] for part in ("containers", "initContainers") if part in pod}
    return {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet", **named}


def _engine(container: Manifest, template: TemplateSpec) -> Manifest:
    laid = dict(container)
    if template.env:
        laid["env"] = [*container.get("env", []), *(_env(one) for one in template.env)]
    if template.volumes:
        laid["volumeMounts"] = [*container.get("volumeMounts", []), *(_mount(one) for one in template.volumes)]
    if template.security_context is not None:
        laid["securityContext"] = _engine_security(container["securityContext"], template.security_context)
    if template.image_pull_policy is not None:
        laid["imagePullPolicy"] = template.image_pull_policy
    if template.resources is not None or any(one.in_memory for one in template.volumes):
        laid["resources"] = _engine_resources(container["resources"], template)
    return laid


def _engine_resources(rendered: Manifest, template: TemplateSpec) -> Manifest:
    """Requests upward only, limits never below them: an engine with less memory than was worked out is ended while it loads."""
    extra, said = host_extra(template), template.resources or EngineResources()
    cpu = extra.engine_cpu_millis(parse_millis(rendered["requests"]["cpu"]))
    memory = ceil_div(extra.engine_memory_bytes(parse_quantity(rendered["requests"]["memory"])), MIB)
    limits = dict(rendered["limits"]) | said.devices
    if said.limits is not None and said.limits.cpu is not None:
        limits["cpu"] = f"{max(cpu, parse_millis(said.limits.cpu))}m"
    if said.limits is not None and said.limits.memory is not None:
        limits["memory"] = f"{max(memory, ceil_div(parse_quantity(said.limits.memory), MIB))}Mi"
    return {**rendered, "limits": limits, "requests": {**rendered["requests"], **said.devices, "cpu": f"{cpu}m", "memory": f"{memory}Mi"}}


def _engine_security(rendered: Manifest, security: PodSecurity) -> Manifest:
    laid = dict(rendered)
    if security.read_only_root_filesystem is not None:
        laid["readOnlyRootFilesystem"] = security.read_only_root_filesystem
    if security.capabilities is not None and security.capabilities.add:
        laid["capabilities"] = {**laid["capabilities"], "add": list(security.capabilities.add)}
    return laid


def _shared(volume: Manifest, size: str) -> Manifest:
    """/dev/shm as large as is wanted, where that is more."""
    if volume["name"] != "shm" or parse_quantity(size) <= parse_quantity(volume["emptyDir"]["sizeLimit"]):
        return volume
    return volume | {"emptyDir": {**volume["emptyDir"], "sizeLimit": size}}


def _affinity(rendered: Manifest, affinity: Affinity) -> Manifest:
    """What is preferred beside what the plan requires of nodes; of pods, all that is said."""
    said = affinity.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    nodes = rendered["nodeAffinity"] | said.pop("nodeAffinity", {})
    return {**{kind: terms for kind, terms in said.items() if terms}, "nodeAffinity": nodes}


def _spread(spread: TopologySpread, labels: dict[str, str]) -> Manifest:
    """Pods of an older template of the same deployment do not count: an update would come out uneven."""
    counted = {"labelSelector": {"matchLabels": labels}, "matchLabelKeys": ["pod-template-hash"]}
    return spread.model_dump(mode="json", by_alias=True, exclude_none=True) | counted


def _security(security: PodSecurity) -> Manifest:
    """The pod's part of it: what holds for all of its containers."""
    pod = security.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"read_only_root_filesystem", "capabilities"})
    if not security.supplemental_groups:
        pod.pop("supplementalGroups", None)
    return ({"runAsNonRoot": True} if security.run_as_user is not None else {}) | pod


_SAME_IN_A_POD: Final = ("image_pull_policy", "command", "args", "startup_probe", "liveness_probe", "readiness_probe", "restart_policy")
_OF_A_CONTAINER: Final = {*_SAME_IN_A_POD, "ports"}


def _sidecar(sidecar: Sidecar, *, blind: bool) -> Manifest:
    """A container beside the engine. `blind`: NVIDIA's runtime shows it no GPU, which else an image that names them all is shown."""
    made: Manifest = {"name": sidecar.name, "image": sidecar.image, "securityContext": RESTRICTED}
    if sidecar.security_context is not None:
        made["securityContext"] = RESTRICTED | sidecar.security_context.model_dump(mode="json", by_alias=True, exclude_none=True)
    said = sidecar.model_dump(mode="json", by_alias=True, exclude_none=True, include=_OF_A_CONTAINER)
    made |= {name: value for name, value in said.items() if value}
    if sidecar.env or blind:
        made["env"] = [*([_NO_GPU] if blind else []), *(_env(one) for one in sidecar.env)]
    if sidecar.resources is not None:
        rows = sidecar.resources.model_dump(mode="json", exclude_none=True)
        limits = rows.pop("limits", None)
        made["resources"] = {"requests": rows} | ({"limits": limits} if limits else {})
    if sidecar.volume_mounts:
        dumped = sidecar.model_dump(mode="json", by_alias=True, exclude_none=True, include={"volume_mounts"})["volumeMounts"]
        made["volumeMounts"] = [{key: value for key, value in one.items() if value is not False} for one in dumped]
    return made


def _env(variable: EnvVar) -> Manifest:
    return variable.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def _volume(volume: Volume) -> Manifest:
    if volume.empty_dir is not None:
        return {"name": volume.name, "emptyDir": volume.empty_dir.model_dump(mode="json", by_alias=True, exclude_none=True)}
    if volume.config_map is not None:
        return {"name": volume.name, "configMap": {"name": volume.config_map.name}}
    if volume.secret is not None:
        return {"name": volume.name, "secret": {"secretName": volume.secret.name}}
    if volume.csi is not None:
        return {"name": volume.name, "csi": volume.csi.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)}
    if volume.image is not None:
        return {"name": volume.name, "image": volume.image.model_dump(mode="json", by_alias=True, exclude_none=True)}
    claim = volume.persistent_volume_claim
    assert claim is not None, "the API types let exactly one kind of volume through"
    return {"name": volume.name, "persistentVolumeClaim": claim.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _mount(volume: Volume) -> Manifest:
    mount: Manifest = {"name": volume.name, "mountPath": volume.mount_path}
    if volume.sub_path is not None:
        mount["subPath"] = volume.sub_path
    return mount | {"readOnly": True} if volume.persistent_volume_claim is not None and volume.persistent_volume_claim.read_only else mount
