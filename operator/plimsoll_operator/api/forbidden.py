"""Fields of a pod that `spec.template` does not have, and what to do instead: said by name where somebody writes one.

Called by `parse` for fields that no type knows. Only sentences; whether a field exists is the types' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_TEMPLATE: Final = "spec.template."
_BESIDE: Final = (f"{_TEMPLATE}sidecars[", f"{_TEMPLATE}initContainers[")
_RIGHTS: Final = "would give the pod what is the node's or other pods', which no policy here hands out: leave it out"
_INSTEAD: Final[Mapping[str, str]] = {
    "hostPID": _RIGHTS,
    "hostIPC": _RIGHTS,
    "hostUsers": "is left to the cluster: leave it out",
    "hostAliases": "is not the pod's to say: use a Service, or the cluster's DNS",
    "dnsPolicy": "is not the pod's to say: use a Service, or the cluster's DNS",
    "dnsConfig": "is not the pod's to say: use a Service, or the cluster's DNS",
    "hostname": "is given by the cluster",
    "subdomain": "is given by the cluster",
    "nodeName": "would go around the scheduler and what is booked: use spec.placement.nodeSelector",
    "nodeSelector": "is spec.placement.nodeSelector: the plan is made for the nodes that have it",
    "tolerations": "is spec.placement.tolerations",
    "priorityClassName": "is spec.placement.priorityClassName",
    "priority": "is spec.placement.priorityClassName",
    "preemptionPolicy": "is the PriorityClass's, named by spec.placement.priorityClassName",
    "schedulerName": "is spec.placement.schedulerName",
    "schedulingGates": "is spec.placement.waitForCapacity",
    "resourceClaims": "is not supported yet: GPUs are those of a device plugin",
    "restartPolicy": "is Always in a pod that serves",
    "activeDeadlineSeconds": "would end a pod that serves: leave it out",
    "shareProcessNamespace": "follows from the containers: an engine without sidecars has it",
    "automountServiceAccountToken": "follows from serviceAccountName: a pod without one has no token",
    "containers": "is sidecars for what runs beside the engine, and resources, env and volumes for the engine",
    "ephemeralContainers": "is for running pods: use kubectl debug",
    "volumeMounts": "is volumes[].mountPath for the engine",
    "envFrom": "is env: every name is written down, since variables move GPU memory",
    "imagePullPolicy": "is imagePullPolicy of spec.template",
    "overhead": "is the RuntimeClass's",
    "os": "is Linux",
    "setHostnameAsFQDN": "is given by the cluster",
    "readinessGates": "is not supported: a pod is ready when its engine serves",
    "image": "is spec.engine.image",
    "command": "is the plan's: arguments are spec.engine.extraArgs",
    "args": "is spec.engine.extraArgs",
    "httpGet": "is the plan's: the engine is asked for /health at its own port",
    "tcpSocket": "is the plan's: the engine is asked for /health at its own port",
    "grpc": "is the plan's: the engine is asked for /health at its own port",
    "postStart": "is not supported: what must happen before the engine starts is an init container's",
    "hostPath": "would give the pod files of its node: use a claim, an emptyDir, or a csi volume that the FitPolicy lists",
    "hostPort": "would take a port of the node: use the Service, or hostNetwork of spec.template where the FitPolicy allows it",
    "hostIP": "would take a port of the node: use the Service",
    "nfs": "is a persistentVolumeClaim's: bind the share to a PersistentVolume",
    "iscsi": "is a persistentVolumeClaim's: bind the disk to a PersistentVolume",
    "projected": "is a secret or a configMap, one volume each; a token comes with serviceAccountName",
    "downwardAPI": "is env with valueFrom.fieldRef",
    "ephemeral": "is a persistentVolumeClaim, made beforehand, or an emptyDir",
    "privileged": _RIGHTS,
    "allowPrivilegeEscalation": "is false in every container",
    "procMount": _RIGHTS,
    "seccompProfile": "is the container runtime's default in every pod",
    "appArmorProfile": "is the container runtime's default in every pod",
    "seLinuxOptions": "is left to the node: use fsGroup or supplementalGroups for access to files",
    "sysctls": "would change the kernel's settings of the pod: ask who runs the nodes",
    "windowsOptions": "is of Windows",
    "drop": "is ALL in every container",
    "requests": "is cpu and memory of resources themselves",
    "claims": "is not supported yet: GPUs are those of a device plugin",
    "labelSelector": "is the plan's: the pods that count are the deployment's own",
    "matchLabelKeys": "is the plan's: the pods that count are those of one template",
}


def what_instead(path: str) -> str | None:
    """The end of a sentence that begins with the field's path; None where nothing is known of it, or it is none of a pod's."""
    if path.endswith(".grpc") and path.startswith(_BESIDE):
        return "is not supported: use httpGet, tcpSocket or exec"
    return _INSTEAD.get(path.rsplit(".", 1)[-1].partition("[")[0]) if path.startswith(_TEMPLATE) else None
