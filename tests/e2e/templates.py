"""Pod templates that nobody should get past the controller's rights."""

from __future__ import annotations

from tests.e2e.rights_world import (
    Change,
    beside,
    both,
    in_container,
    in_pod,
    in_security,
    mounting,
)

NAKED = {"name": "more", "image": "evil/tool:1"}


PRIVILEGED = {**NAKED, "securityContext": {"privileged": True}}


TOKEN_VOLUME = {"sources": [{"serviceAccountToken": {"path": "token"}}]}


UNCONFINED = {"type": "Unconfined"}


# What no pod template of the controller's may hold; for Deployments and LeaderWorkerSets alike.
TEMPLATES: list[tuple[str, Change, str]] = [
    ("the host's network", in_pod(hostNetwork=True), "host's namespaces"),
    ("the host's processes", in_pod(hostPID=True), "host's namespaces"),
    ("the host's shared memory", in_pod(hostIPC=True), "host's namespaces"),
    ("a node of its own choice, past the scheduler", in_pod(nodeName="control-plane"), "past the scheduler"),
    ("a folder of the host", mounting(hostPath={"path": "/"}), "no other kind of volume"),
    ("a token of an account", mounting(projected=TOKEN_VOLUME), "no other kind of volume"),
    ("a volume of a driver's own making", mounting(csi={"driver": "secrets-store.csi.k8s.io"}), "no other kind of volume"),
    ("a volume on the network", mounting(nfs={"server": "10.0.0.1", "path": "/"}), "no other kind of volume"),
    ("a privileged container", in_security(privileged=True, allowPrivilegeEscalation=True), "no privileged container"),
    ("setuid programs", in_security(allowPrivilegeEscalation=True), "no privileged container"),
    ("a container that says nothing of its rights", in_container(securityContext={}), "no privileged container"),
    (
        "a capability beside the one that RDMA needs",
        in_security(capabilities={"drop": ["ALL"], "add": ["IPC_LOCK", "SYS_ADMIN"]}),
        "no privileged container",
    ),
    ("a capability", in_security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "no privileged container"),
    ("kept capabilities", in_security(capabilities={"drop": ["NET_RAW"]}), "no privileged container"),
    ("the host's /proc", both(in_pod(hostUsers=False), in_security(procMount="Unmasked")), "no privileged container"),
    ("a container without system call filter", in_security(seccompProfile=UNCONFINED), "no privileged container"),
    ("a pod without system call filter", in_pod(securityContext={"seccompProfile": UNCONFINED}), "security context"),
    ("kernel settings", in_pod(securityContext={"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}), "security context"),
    ("another security label", in_pod(securityContext={"seLinuxOptions": {"type": "spc_t"}}), "security context"),
    ("a privileged container before the engine", in_pod(initContainers=[PRIVILEGED]), "no privileged container"),
    ("a second container as it comes", beside(**NAKED), "no privileged container"),
    ("a port of the node", in_container(ports=[{"containerPort": 80, "hostPort": 80}]), "port of a node"),
    ("an account", in_pod(serviceAccountName="admin", serviceAccount="admin"), "needs the verb use on ServiceAccount team/admin"),
    ("the namespace's own account with its token", in_pod(automountServiceAccountToken=True), "no token"),
]
