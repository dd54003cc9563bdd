"""Each right of the two accounts, and the code that needs it: a right that nobody can name here is not given.

The verbs are those that the API server's audit log showed while the end-to-end tests ran; `docs/security.md` says what each right is for.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.controlplane import Cluster
from tests.controlplane.cluster import Json
from tests.e2e.installation import GROUP, RELEASE, manifests

pytestmark = pytest.mark.e2e
CODE = Path(__file__).resolve().parents[2] / "operator" / "plimsoll_operator"
LEASES, LWS, VAP = "coordination.k8s.io", "leaderworkerset.x-k8s.io", "admissionregistration.k8s.io"
KNOWN = ("inferencedeployments", "modelprofiles", "clustermodelprofiles", "gpupools", "fitpolicies", "enginecalibrations")

CONTROLLER: list[tuple[str, str, str, str]] = [
    # group, resource, verbs, where they are used
    (GROUP, "inferencedeployments", "get", "controller/reconcile.py"),
    (GROUP, "inferencedeployments", "list watch", "controller/watching/watcher.py"),
    (GROUP, "inferencedeployments/status", "patch", "controller/reporting/report.py"),
    (GROUP, "modelprofiles", "list watch", "controller/on_change.py"),
    (GROUP, "modelprofiles", "get create patch", "controller/resolving/store.py"),
    (GROUP, "modelprofiles", "delete", "controller/resolving/upkeep.py"),
    (GROUP, "modelprofiles/status", "patch", "controller/reporting/profile_status.py"),
    (GROUP, "clustermodelprofiles", "list watch", "controller/on_change.py"),
    (GROUP, "clustermodelprofiles", "get create patch", "controller/resolving/store.py"),
    (GROUP, "clustermodelprofiles", "delete", "controller/resolving/expiry.py"),
    (GROUP, "clustermodelprofiles/status", "patch", "controller/reporting/profile_status.py"),
    (GROUP, "gpupools", "list watch", "controller/on_change.py"),
    (GROUP, "gpupools", "create patch delete", "controller/reporting/pool_writer.py"),
    (GROUP, "gpupools/status", "patch", "controller/reporting/pool_writer.py"),
    (GROUP, "fitpolicies", "list watch", "controller/on_change.py"),
    (GROUP, "fitpolicies/status", "patch", "controller/reporting/policy_status.py"),
    (GROUP, "enginecalibrations", "list watch", "controller/on_change.py"),
    (GROUP, "enginecalibrations/status", "patch", "controller/reporting/calibration_writer.py"),
    ("", "nodes", "list watch", "controller/on_change.py"),
    ("", "namespaces", "list watch", "controller/on_change.py"),
    ("", "pods", "list watch", "controller/on_change.py"),
    ("", "pods", "get patch", "controller/booking/gates.py"),
    ("", "pods", "create delete", "controller/resolving/user_rights.py"),
    ("", "pods/log", "get", "controller/resolving/user_rights.py"),
    ("", "persistentvolumeclaims", "get", "controller/resolving/user_rights.py"),
    ("", "configmaps", "get", "controller/resolving/config_map.py"),
    ("apps", "deployments", "list watch", "controller/on_change.py"),
    ("apps", "deployments", "get create patch delete", "controller/children/children.py"),
    (LWS, "leaderworkersets", "list watch", "controller/on_change.py"),
    (LWS, "leaderworkersets", "get create patch delete", "controller/children/children.py"),
    ("", "services", "list watch", "controller/on_change.py"),
    ("", "services", "get create patch delete", "controller/children/children.py"),
    ("policy", "poddisruptionbudgets", "list watch", "controller/on_change.py"),
    ("policy", "poddisruptionbudgets", "get create patch delete", "controller/children/children.py"),
    ("events.k8s.io", "events", "create", "controller/reporting/events.py"),
    (VAP, "validatingadmissionpolicies", "list watch", "controller/cluster/protection.py"),
    (VAP, "validatingadmissionpolicybindings", "list watch", "controller/cluster/protection.py"),
    (LEASES, "leases", "get create update", "controller/leader/lease.py"),
]
WEBHOOK = [
    *((GROUP, kind, "list watch", "webhook/store.py") for kind in KNOWN),
    (GROUP, "modelprofiles", "get", "watch.py"),
    ("", "namespaces", "list watch", "webhook/store.py"),
]


def rights(objects: list[Json], account: str) -> set[tuple[str, str, str]]:
    """All that the account's roles allow, verb by verb."""
    name = f"{RELEASE}-{account}"
    bound = {
        (one["roleRef"]["kind"], one["roleRef"]["name"])
        for one in objects
        if one["kind"] in ("RoleBinding", "ClusterRoleBinding") and any(subject["name"] == name for subject in one["subjects"])
    }
    rules = [rule for one in objects if (one["kind"], one["metadata"]["name"]) in bound for rule in one["rules"]]
    return {
        (group, resource, verb) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    }


@pytest.mark.parametrize(("account", "table"), [("controller", CONTROLLER), ("webhook", WEBHOOK)])
def test_an_account_has_the_rights_that_code_needs_and_no_other(
    cluster: Cluster, account: str, table: list[tuple[str, str, str, str]]
) -> None:
    needed = {(group, resource, verb) for group, resource, verbs, _ in table for verb in verbs.split()}
    given = rights(manifests(cluster), account)
    assert given - needed == set(), "rights that nothing uses"
    assert needed - given == set(), "rights that something misses"
    assert [where for *_, where in table if not (CODE / where).exists()] == [], "a right whose user is gone"


def test_no_account_reaches_into_pods_or_past_the_policies(cluster: Cluster) -> None:
    objects = manifests(cluster)
    given = rights(objects, "controller") | rights(objects, "webhook")
    sub = {resource.partition("/")[2] for _, resource, _ in given} - {""}
    assert sub == {"status", "log"}, "no exec, attach, portforward, proxy, binding, eviction, ephemeralcontainers, resize, scale or token"
    statuses = {(group, resource) for group, resource, _ in given if resource.endswith("/status")}
    assert {group for group, _ in statuses} == {GROUP}
    assert {verb for *_, verb in given} == {"get", "list", "watch", "create", "patch", "update", "delete"}
    assert not any(resource in ("secrets", "serviceaccounts", "nodes/proxy", "roles", "clusterroles") for _, resource, _ in given)
    assert not any("*" in part for row in given for part in row)
