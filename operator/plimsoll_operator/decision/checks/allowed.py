"""What a FitPolicy's allow-lists leave of the pod that is asked for, and what no spec.template may bring into it.

Called by `checks` before any arithmetic. Container images count wherever they stand: the engine's and every sidecar's. Mount paths
are compared in their one form, since /var//run/x and /var/run/y/../x are the same place. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from plimsoll_estimator import EngineVersion
from plimsoll_operator.api import OWNED_PATHS, FitPolicySpec, InferenceDeploymentSpec, TemplateSpec, Toleration, Volume
from plimsoll_operator.decision.checks.code_loading import argument_that_loads_code, mount_that_loads_code
from plimsoll_operator.decision.checks.containers import containers_of, hides_the_system, system_hidden
from plimsoll_operator.decision.checks.environment import first_that_moves_the_plan, loads_code
from plimsoll_operator.decision.checks.images import is_allowed
from plimsoll_operator.names import GPU_RESOURCE, SERVICE_ACCOUNT_FOLDER
from plimsoll_operator.overlay import one_form, touches
from plimsoll_operator.pod import HOME_MOUNT
from plimsoll_operator.verdict import Reason, Reject

ACCOUNT_PATHS: Final = (SERVICE_ACCOUNT_FOLDER, SERVICE_ACCOUNT_FOLDER.removeprefix("/var"))
"""Where a pod's account lies, and where /var/run leads to in most images."""
_OF_THE_RUNTIME: Final = (
    "cdi.k8s.io/",
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "io.containerd.",
    "io.katacontainers.",
    "io.kubernetes.cri-o.",
    "io.kubernetes.cri.",
    "nvidia.cdi.k8s.io/",
    "seccomp.security.alpha.kubernetes.io/",
)
"""Annotations that a container runtime obeys: cdi.k8s.io/* alone gives a pod every GPU of its node."""
_Forbids = Callable[[InferenceDeploymentSpec, EngineVersion, FitPolicySpec], Reject | None]


def not_allowed(spec: InferenceDeploymentSpec, version: EngineVersion, policy: FitPolicySpec) -> Reject | None:
    """The first thing in the spec that the policy's allow-lists leave out."""
    return next((found for forbids in _FORBIDS if (found := forbids(spec, version, policy)) is not None), None)


def _forbidden(field: str, message: str) -> Reject:
    return Reject(reason=Reason.POLICY_FORBIDS, message=message, field=field)


def _images(spec: InferenceDeploymentSpec, _version: EngineVersion, policy: FitPolicySpec) -> Reject | None:
    if not policy.allowed_images:
        return None
    for field, image in images_of(spec):
        if not is_allowed(image, policy.allowed_images):
            shown = ", ".join(policy.allowed_images[:4]) + (" ..." if len(policy.allowed_images) > 4 else "")
            return _forbidden(field, f"{field} {image} is not among the FitPolicy's allowedImages ({shown}).")
    return None


def images_of(spec: InferenceDeploymentSpec) -> Iterator[tuple[str, str]]:
    """Every image that the spec names, by its field."""
    yield "spec.engine.image", spec.engine.image
    if spec.model.source is not None and spec.model.source.image is not None:
        yield "spec.model.source.image.reference", spec.model.source.image.reference
    for place, volume in enumerate(spec.template.volumes if spec.template is not None else ()):
        if volume.image is not None:
            yield f"spec.template.volumes[{place}].image.reference", volume.image.reference
    for field, one in containers_of(spec.template) if spec.template is not None else ():
        yield f"{field}.image", one.image


def _priority_class(spec: InferenceDeploymentSpec, _version: EngineVersion, policy: FitPolicySpec) -> Reject | None:
    name, field = spec.placement.priority_class_name, "spec.placement.priorityClassName"
    if not policy.allowed_priority_classes or name is None or name in policy.allowed_priority_classes:
        return None
    return _forbidden(field, f"{field} {name} is not among the FitPolicy's allowedPriorityClasses.")


def _tolerations(spec: InferenceDeploymentSpec, _version: EngineVersion, policy: FitPolicySpec) -> Reject | None:
    if not policy.allowed_tolerations:
        return None
    for place, toleration in enumerate(spec.placement.tolerations):
        if toleration.key in policy.allowed_tolerations or _is_the_plans(toleration):
            continue
        field = f"spec.placement.tolerations[{place}]"
        what = f"of {toleration.key}" if toleration.key is not None else "of every key"
        return _forbidden(field, f"{field} {what} is not among the FitPolicy's allowedTolerations.")
    return None


def _is_the_plans(toleration: Toleration) -> bool:
    """What every pod of a plan tolerates, whoever asks."""
    return toleration.key == GPU_RESOURCE and toleration.effect == "NoSchedule"


def _code(spec: InferenceDeploymentSpec, version: EngineVersion, policy: FitPolicySpec) -> Reject | None:
    if policy.code_loading == "Allow":
        return None
    flag = argument_that_loads_code(spec.engine.extra_args, version)
    if flag is not None:
        return _loads_code("spec.engine.extraArgs", flag)
    template = spec.template or TemplateSpec()
    name = next((one.name for one in template.env if loads_code(one.name)), None)
    if name is not None:
        return _loads_code("spec.template.env", name)
    if template.lifecycle is not None and template.lifecycle.pre_stop is not None and template.lifecycle.pre_stop.exec is not None:
        return _loads_code("spec.template.lifecycle.preStop.exec", "a command of its own")
    filled = [one.mount_path for one in template.volumes if _is_filled(one, template)]
    path = next((path for path in filled if mount_that_loads_code(one_form(path))), None)
    return None if path is None else _loads_code("spec.template.volumes", f"a volume at {path}")


def _loads_code(field: str, what: str) -> Reject:
    return _forbidden(field, f"{what} makes the engine run code from outside its image, which the FitPolicy's codeLoading denies.")


def _is_filled(volume: Volume, template: TemplateSpec) -> bool:
    """Scratch space is empty when the engine starts, but where another container writes to it."""
    return volume.empty_dir is None or any(mount.name == volume.name for _, one in containers_of(template) for mount in one.volume_mounts)


def _csi_drivers(spec: InferenceDeploymentSpec, _version: EngineVersion, policy: FitPolicySpec) -> Reject | None:
    for place, volume in enumerate(spec.template.volumes if spec.template is not None else ()):
        if volume.csi is not None and volume.csi.driver not in policy.allowed_csi_drivers:
            field = f"spec.template.volumes[{place}].csi.driver"
            return _forbidden(field, f"{field} {volume.csi.driver} is not among the FitPolicy's allowedCsiDrivers.")
    return None


def _host_network(spec: InferenceDeploymentSpec, _version: EngineVersion, policy: FitPolicySpec) -> Reject | None:
    if spec.template is None or not spec.template.host_network or policy.host_network == "Allow":
        return None
    field = "spec.template.hostNetwork"
    message = f"{field} gives the pods their node's addresses and ports, which the FitPolicy's hostNetwork denies."
    return _forbidden(field, f"{message} Network devices are named in spec.template.resources.devices.")


_FORBIDS: Final[tuple[_Forbids, ...]] = (_images, _priority_class, _tolerations, _csi_drivers, _host_network, _code)


def overlay_problem(template: TemplateSpec, version: EngineVersion) -> Reject | None:
    """What the overlay may bring into no pod, whatever the policy says."""
    moved = first_that_moves_the_plan(template.env, version)
    if moved is not None:
        name, why = moved
        return Reject(reason=Reason.NOT_SUPPORTED_YET, message=f"Variable {name} {why}.", field="spec.template.env")
    security = template.security_context
    owned = (*OWNED_PATHS, *((HOME_MOUNT,) if security is not None and security.moves_home else ()))
    return _order_to_the_runtime(template) or _mount_problem(template, owned) or _account_in_a_container(template)


def overlay_forbidden(template: TemplateSpec) -> Reject | None:
    """Of that, what gives a pod a right or a device that is not its own, whatever else may be wrong with the overlay."""
    of_engine = (_account_problem(place, one, template) for place, one in enumerate(template.volumes))
    return (
        _order_to_the_runtime(template)
        or next((problem for problem in of_engine if problem is not None), None)
        or _account_in_a_container(template)
    )


def _order_to_the_runtime(template: TemplateSpec) -> Reject | None:
    key = next((one for one in sorted(template.annotations) if one.startswith(_OF_THE_RUNTIME)), None)
    if key is None:
        return None
    message = f"Annotation {key} is an order to the container runtime, which hands out devices and takes confinement off."
    return Reject(reason=Reason.POLICY_FORBIDS, message=message, field="spec.template.annotations")


def _mount_problem(template: TemplateSpec, owned: tuple[str, ...]) -> Reject | None:
    seen: dict[str, str] = {}
    for place, volume in enumerate(template.volumes):
        path, field = one_form(volume.mount_path), f"spec.template.volumes[{place}].mountPath"
        if ".." in volume.mount_path.split("/"):
            return _invalid(field, f"{field} {volume.mount_path} has a step upward.")
        if volume.sub_path is not None and ".." in volume.sub_path.split("/"):
            below = f"spec.template.volumes[{place}].subPath"
            return _invalid(below, f"{below} {volume.sub_path} has a step upward.")
        if not volume.keeps_the_hub_s_cache and any(touches(path, own) for own in owned):
            return _invalid(field, f"{field} {volume.mount_path}: the plan mounts something here.")
        if hides_the_system(path):
            return system_hidden(field, volume.mount_path)
        if path in seen:
            return _invalid(field, f"{field} {volume.mount_path} is where volume {seen[path]} is mounted.")
        account = _account_problem(place, volume, template)
        if account is not None:
            return account
        seen[path] = volume.name
    return None


def _account_problem(place: int, volume: Volume, template: TemplateSpec) -> Reject | None:
    if not _brings_an_account(one_form(volume.mount_path), filled=_is_filled(volume, template)):
        return None
    return _an_account(f"spec.template.volumes[{place}].mountPath", volume.mount_path)


def _account_in_a_container(template: TemplateSpec) -> Reject | None:
    """What another container sees where its account would lie: all of its volumes may have been written to."""
    for field, one in containers_of(template):
        for place, mount in enumerate(one.volume_mounts):
            if _brings_an_account(one_form(mount.mount_path), filled=True):
                return _an_account(f"{field}.volumeMounts[{place}].mountPath", mount.mount_path)
    return None


def _an_account(field: str, path: str) -> Reject:
    message = f"{field} {path} is where a pod's account lies: name one in spec.template.serviceAccountName."
    return Reject(reason=Reason.POLICY_FORBIDS, message=message, field=field)


def _invalid(field: str, message: str) -> Reject:
    return Reject(reason=Reason.INVALID_SPEC, message=message, field=field)


def _brings_an_account(path: str, *, filled: bool) -> bool:
    """At the account's path or below, whatever it holds; above it, where it may hold the path's folders. Scratch space is empty."""
    at_or_below = any(path == own or path.startswith(f"{own}/") for own in ACCOUNT_PATHS)
    return at_or_below or (filled and any(own.startswith(f"{path.rstrip('/')}/") for own in ACCOUNT_PATHS))
