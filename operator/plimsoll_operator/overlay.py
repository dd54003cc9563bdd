"""The user's bounded overlay on the generated pod: spec.template laid over what the plan needs, which it can add to and never undo.

Called by `render` for every pod template it makes, and by the decision for what the overlay adds to the pod's host needs.
Pure; what may not be set at all is refused by the API types.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import MIB, ceil_div
from plimsoll_operator.api import EnvVar, Manifest, PodSecurity, Sidecar, TemplateResources, TemplateSpec, TopologySpread, Volume
from plimsoll_operator.names import NAME_LABEL
from plimsoll_operator.quantity import parse_millis, parse_quantity

RESTRICTED: Final[Manifest] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostExtra:
    """What the overlay asks of the node: floors for the engine's own container, and what sidecars take beside it."""

    memory_floor_bytes: int = 0
    cpu_floor_millis: int = 0
    sidecar_memory_bytes: int = 0
    sidecar_cpu_millis: int = 0

    def engine_memory_bytes(self, computed: int) -> int:
        """Memory request of the engine's container: upward only."""
        return max(computed, self.memory_floor_bytes)

    def engine_cpu_millis(self, computed: int) -> int:
        """CPU request of the engine's container: upward only."""
        return max(computed, self.cpu_floor_millis)


def host_extra(template: TemplateSpec | None) -> HostExtra:
    """Read once from the template; quantities rounded up."""
    if template is None:
        return HostExtra()
    memory, cpu = _amounts(template.resources)
    beside = [_amounts(sidecar.resources) for sidecar in template.sidecars]
    return HostExtra(
        memory_floor_bytes=memory,
        cpu_floor_millis=cpu,
        sidecar_memory_bytes=sum(row[0] for row in beside),
        sidecar_cpu_millis=sum(row[1] for row in beside),
    )


def one_form(path: str) -> str:
    """A mount path as the kernel sees it: one slash at a time, no dots, none at the end. (normpath leaves two slashes at the start.)"""
    return posixpath.normpath("/" + path.lstrip("/"))


def _amounts(resources: TemplateResources | None) -> tuple[int, int]:
    if resources is None:
        return 0, 0
    memory = parse_quantity(resources.memory) if resources.memory is not None else 0
    return memory, parse_millis(resources.cpu) if resources.cpu is not None else 0


def lay_over(pod_template: Manifest, template: TemplateSpec | None) -> Manifest:
    """The pod template with the overlay on it. The first container is the engine's; what is already there stays."""
    if template is None:
        return pod_template
    metadata, spec = dict(pod_template["metadata"]), dict(pod_template["spec"])
    metadata["labels"] = {**template.labels, **metadata.get("labels", {})}
    if template.annotations:
        metadata["annotations"] = {**template.annotations, **metadata.get("annotations", {})}
    if template.security_context is not None:
        spec["securityContext"] = {**spec.get("securityContext", {}), **_security(template.security_context)}
    engine, *others = spec["containers"]
    spec["containers"] = [_engine(engine, template), *others, *(_sidecar(one) for one in template.sidecars)]
    if template.volumes:
        spec["volumes"] = [*spec.get("volumes", []), *(_volume(one) for one in template.volumes)]
    if template.service_account_name is not None:
        spec["serviceAccountName"] = template.service_account_name
        # Who names an account wants what it may do; without one the pod has no token at all.
        spec.pop("automountServiceAccountToken", None)
    if template.topology_spread_constraints:
        name = {NAME_LABEL: metadata["labels"][NAME_LABEL]}
        spec["topologySpreadConstraints"] = [_spread(one, name) for one in template.topology_spread_constraints]
    if template.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in template.image_pull_secrets]
    return {"metadata": metadata, "spec": spec}


def _engine(container: Manifest, template: TemplateSpec) -> Manifest:
    laid = dict(container)
    if template.env:
        laid["env"] = [*container.get("env", []), *(_env(one) for one in template.env)]
    if template.volumes:
        laid["volumeMounts"] = [*container.get("volumeMounts", []), *(_mount(one) for one in template.volumes)]
    if template.security_context is not None and template.security_context.read_only_root_filesystem is not None:
        read_only = template.security_context.read_only_root_filesystem
        laid["securityContext"] = {**container["securityContext"], "readOnlyRootFilesystem": read_only}
    if template.resources is not None:
        extra = host_extra(template)
        requests = dict(container["resources"]["requests"])
        requests["cpu"] = f"{extra.engine_cpu_millis(parse_millis(requests['cpu']))}m"
        requests["memory"] = f"{ceil_div(extra.engine_memory_bytes(parse_quantity(requests['memory'])), MIB)}Mi"
        laid["resources"] = {**container["resources"], "requests": requests}
    return laid


def _spread(spread: TopologySpread, labels: dict[str, str]) -> Manifest:
    """Pods of an older template of the same deployment do not count: an update would come out uneven."""
    counted = {"labelSelector": {"matchLabels": labels}, "matchLabelKeys": ["pod-template-hash"]}
    return spread.model_dump(mode="json", by_alias=True, exclude_none=True) | counted


def _security(security: PodSecurity) -> Manifest:
    """The pod's part of it: what holds for all of its containers."""
    pod = security.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"read_only_root_filesystem"})
    if not security.supplemental_groups:
        pod.pop("supplementalGroups", None)
    return ({"runAsNonRoot": True} if security.run_as_user is not None else {}) | pod


def _sidecar(sidecar: Sidecar) -> Manifest:
    made: Manifest = {"name": sidecar.name, "image": sidecar.image, "securityContext": RESTRICTED}
    if sidecar.args:
        made["args"] = list(sidecar.args)
    if sidecar.env:
        made["env"] = [_env(one) for one in sidecar.env]
    if sidecar.resources is not None:
        made["resources"] = {"requests": sidecar.resources.model_dump(mode="json", exclude_none=True)}
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
    claim = volume.persistent_volume_claim
    assert claim is not None, "the API types let exactly one kind of volume through"
    return {"name": volume.name, "persistentVolumeClaim": claim.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _mount(volume: Volume) -> Manifest:
    mount: Manifest = {"name": volume.name, "mountPath": volume.mount_path}
    return mount | {"readOnly": True} if volume.persistent_volume_claim is not None and volume.persistent_volume_claim.read_only else mount
