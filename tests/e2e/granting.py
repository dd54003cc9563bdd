"""Rights for users of the shared cluster."""

from tests.controlplane import Cluster


def grant(cluster: Cluster, namespace: str, user: str, *roles: str) -> None:
    """Give a user ClusterRoles in one namespace."""
    for role in roles:
        cluster.kubectl("create", "rolebinding", f"{user}-{role}", "-n", namespace, f"--clusterrole={role}", f"--user={user}")
