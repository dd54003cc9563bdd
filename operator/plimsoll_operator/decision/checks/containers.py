"""What the containers of spec.template say of one another and of its volumes: names, ports, mounts, limits. Called by `checks`. Pure.

The API types bound each container alone. A port that the engine listens on, taken by a sidecar first, would end the engine at each start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from plimsoll_operator.api import EngineSpec, Sidecar, TemplateResources, TemplateSpec
from plimsoll_operator.overlay import one_form
from plimsoll_operator.pod import SHARED_MEMORY_MOUNT
from plimsoll_operator.quantity import parse_millis, parse_quantity
from plimsoll_operator.serving import serving_of
from plimsoll_operator.verdict import Reason, Reject

_ENGINES_PORT_NAME: Final = "http"
_OF_THE_SYSTEM: Final = ("/dev", "/proc", "/sys")
"""What the container runtime mounts: no container starts with a volume at / or in /proc, and without /dev and /sys none sees a GPU."""


def containers_of(template: TemplateSpec) -> Iterator[tuple[str, Sidecar]]:
    """Every container beside the engine, with its field."""
    for place, init in enumerate(template.init_containers):
        yield f"spec.template.initContainers[{place}]", init
    for place, sidecar in enumerate(template.sidecars):
        yield f"spec.template.sidecars[{place}]", sidecar


def hides_the_system(path: str) -> bool:
    """Whether a volume at a path, in its one form, is in the place of what the runtime mounts. /dev/shm is a folder that any may have."""
    return path == "/" or any(path == own or (path.startswith(f"{own}/") and path != SHARED_MEMORY_MOUNT) for own in _OF_THE_SYSTEM)


def system_hidden(field: str, path: str) -> Reject:
    """What is said of such a mount."""
    return _invalid(field, f"{field} {path} is the system's, which no container starts without: mount the volume elsewhere, as at /mnt.")


def container_problem(template: TemplateSpec, engine: EngineSpec) -> Reject | None:
    """The first thing in which the containers contradict one another, the engine or the API server."""
    port = serving_of(engine).port
    names: set[str] = set()
    port_names, ports = {_ENGINES_PORT_NAME}, {("TCP", port): "the engine"}
    for field, one in containers_of(template):
        if one.name in names:
            return _invalid(f"{field}.name", f"{field}.name {one.name} is another container's.")
        names.add(one.name)
        for place, given in enumerate(one.ports):
            where = f"{field}.ports[{place}]"
            taken = ports.get((given.protocol, given.container_port))
            if taken is not None:
                message = f"{where}.containerPort {given.container_port} is taken by {taken}: the containers of a pod share its ports."
                return _invalid(f"{where}.containerPort", f"{message} The engine's own is spec.engine.port.")
            if given.name in port_names:
                return _invalid(f"{where}.name", f"{where}.name {given.name} is another port's.")
            port_names.add(given.name)
            ports[given.protocol, given.container_port] = f"container {one.name}"
        problem = _mounts(field, one, {volume.name for volume in template.volumes}) or _limits(f"{field}.resources", one.resources)
        if problem is not None:
            return problem
    return None


def _mounts(field: str, container: Sidecar, volumes: set[str]) -> Reject | None:
    seen: set[str] = set()
    for place, mount in enumerate(container.volume_mounts):
        where = f"{field}.volumeMounts[{place}]"
        if mount.name not in volumes:
            return _invalid(f"{where}.name", f"{where}.name {mount.name} is no volume of spec.template.volumes: name it there.")
        path = one_form(mount.mount_path)
        if ".." in mount.mount_path.split("/"):
            return _invalid(f"{where}.mountPath", f"{where}.mountPath {mount.mount_path} has a step upward.")
        if mount.sub_path is not None and ".." in mount.sub_path.split("/"):
            return _invalid(f"{where}.subPath", f"{where}.subPath {mount.sub_path} has a step upward.")
        if hides_the_system(path):
            return system_hidden(f"{where}.mountPath", mount.mount_path)
        if path in seen:
            return _invalid(f"{where}.mountPath", f"{where}.mountPath {mount.mount_path} is given twice.")
        seen.add(path)
    return None


def _limits(field: str, resources: TemplateResources | None) -> Reject | None:
    """The API server refuses a request above its limit. The engine's limits are raised to what it asks for instead."""
    limits = resources.limits if resources is not None else None
    if resources is None or limits is None:
        return None
    rows = (
        ("cpu", resources.cpu, limits.cpu, parse_millis),
        ("memory", resources.memory, limits.memory, parse_quantity),
    )
    for name, asked, most, read in rows:
        if asked is not None and most is not None and read(asked) > read(most):
            return _invalid(f"{field}.limits.{name}", f"{field}.limits.{name} {most} is less than the {asked} that are asked for.")
    return None


def _invalid(field: str, message: str) -> Reject:
    return Reject(reason=Reason.INVALID_SPEC, message=message, field=field)
