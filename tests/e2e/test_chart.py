"""The chart on a real API server: its objects are accepted, and its rights are the smallest that work."""

import json
import re
import sys
from pathlib import Path

import pytest
from tests.controlplane import FAKE_GPU_NODES, Cluster, ControlPlane
from tests.controlplane.cluster import Json, KubectlError, wait_until
from tests.controlplane.plane import free_ports
from tests.e2e.certificate import PEM
from tests.e2e.installation import CHART, GROUP, NAMESPACE, RELEASE, apply, manifests

pytestmark = pytest.mark.e2e
LEASES = "/apis/coordination.k8s.io/v1"
RBAC = "rbac.authorization.k8s.io"
RIGHTS = ("Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


@pytest.fixture(scope="module", autouse=True)
def rights(cluster: Cluster) -> None:
    """The chart's namespace, accounts and roles, without the admission rules."""
    objects = manifests(cluster, "processes.enabled=false")
    apply(cluster, sorted((one for one in objects if one["kind"] in RIGHTS), key=lambda one: RIGHTS.index(one["kind"])))


def may(cluster: Cluster, user: str, verb: str, resource: str, *, group: str = "", namespace: str = "", subresource: str = "") -> bool:
    """Ask the API server's authorizer whether a user may do something."""
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace}
    spec = {"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    status, answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert status == 201, answer
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize(
    ("account", "verb", "resource", "group", "namespace", "allowed"),
    [
        pytest.param("webhook", "watch", "inferencedeployments", GROUP, "", True, id="the webhook caches InferenceDeployments"),
        pytest.param("webhook", "watch", "gpupools", GROUP, "", True, id="the webhook caches GPUPools"),
        pytest.param("webhook", "list", "namespaces", "", "", True, id="the webhook knows the namespaces that policies select"),
        pytest.param("webhook", "list", "nodes", "", "", False, id="the webhook sees no nodes"),
        pytest.param("webhook", "list", "pods", "", "", False, id="the webhook sees no pods"),
        pytest.param("webhook", "get", "secrets", "", NAMESPACE, False, id="the webhook reads no Secret, not even its own"),
        pytest.param("webhook", "patch", "inferencedeployments", GROUP, "", False, id="the webhook writes nothing"),
        pytest.param("controller", "watch", "nodes", "", "", True, id="the controller watches nodes"),
        pytest.param("controller", "create", "deployments", "apps", "team-a", True, id="the controller makes Deployments anywhere"),
        pytest.param("controller", "patch", "services", "", "team-a", True, id="the controller applies Services anywhere"),
        pytest.param("controller", "create", "gpupools", GROUP, "", True, id="the controller creates derived pools"),
        pytest.param("controller", "create", "leases", "coordination.k8s.io", NAMESPACE, True, id="the controller makes a Lease at home"),
        pytest.param(
            "controller", "update", "leases", "coordination.k8s.io", NAMESPACE, False, id="the controller holds no Lease but its own"
        ),
        pytest.param("controller", "update", "leases", "coordination.k8s.io", "kube-system", False, id="and nowhere else"),
        pytest.param("controller", "patch", "inferencedeployments", GROUP, "", False, id="the controller never writes a spec"),
        pytest.param("controller", "patch", "fitpolicies", GROUP, "", False, id="the controller cannot loosen a policy"),
        pytest.param("controller", "get", "secrets", "", "team-a", False, id="the controller reads no Secret"),
        pytest.param("controller", "create", "pods", "", "team-a", True, id="the controller makes reader pods (a policy allows no others)"),
        pytest.param("controller", "patch", "modelprofiles", GROUP, "team-a", True, id="the controller keeps what they have read"),
        pytest.param("controller", "patch", "clustermodelprofiles", GROUP, "", True, id="the controller keeps what the hub says"),
        pytest.param("controller", "delete", "clustermodelprofiles", GROUP, "", True, id="and takes away what it made and nobody asks for"),
        pytest.param("controller", "get", "configmaps", "", "team-a", True, id="the controller reads a ConfigMap that is named"),
        pytest.param("controller", "list", "configmaps", "", "", False, id="the controller lists no ConfigMaps"),
        pytest.param("controller", "patch", "nodes", "", "", False, id="the controller changes no node"),
        pytest.param("controller", "create", "clusterrolebindings", RBAC, "", False, id="the controller grants nothing"),
    ],
)
def test_rights_of_the_two_accounts(
    cluster: Cluster, account: str, verb: str, resource: str, group: str, namespace: str, *, allowed: bool
) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-{account}"
    assert may(cluster, user, verb, resource, group=group, namespace=namespace) is allowed


def test_the_controller_reads_logs_but_enters_no_pod(cluster: Cluster) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-controller"
    assert may(cluster, user, "get", "pods", namespace="team-a", subresource="log")
    assert not may(cluster, user, "create", "pods", namespace="team-a", subresource="exec")


def test_without_reader_pods_the_controller_has_no_right_to_pods(cluster: Cluster) -> None:
    objects = manifests(cluster, "reader.enabled=false")
    (role,) = [one for one in objects if one["kind"] == "ClusterRole" and one["metadata"]["name"] == f"{RELEASE}-controller"]
    verbs = {verb for rule in role["rules"] if "pods" in rule["resources"] for verb in rule["verbs"]}
    assert verbs.isdisjoint({"create", "delete"})
    assert not any("reader" in one["metadata"]["name"] for one in objects)


def test_the_controller_is_told_every_policy_that_guards_it(cluster: Cluster) -> None:
    for values, guarded in (((), True), (("reader.enabled=false",), True), (("guard.enabled=false",), False)):
        objects = manifests(cluster, *values)
        installed = {one["metadata"]["name"] for one in objects if one["kind"] == "ValidatingAdmissionPolicy"}
        bound = {one["spec"]["policyName"] for one in objects if one["kind"] == "ValidatingAdmissionPolicyBinding"}
        (controller,) = [one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == f"{RELEASE}-controller"]
        arguments = controller["spec"]["template"]["spec"]["containers"][0]["args"]
        told = {word.partition("=")[2] for word in arguments if word.startswith(("--guard-policy=", "--bypass-policy="))}
        assert told == installed == bound
        assert any(name.startswith(f"{RELEASE}-controller-") for name in told) is guarded


def test_the_api_server_finds_no_fault_with_the_types_of_the_policies(cluster: Cluster) -> None:
    """What is compared is looked up in the kinds' schemas, beside the tests that try it."""
    objects = manifests(cluster, "processes.enabled=false")
    apply(cluster, [one for one in objects if one["kind"] == "CustomResourceDefinition"])
    policies = [one for one in objects if one["kind"] == "ValidatingAdmissionPolicy"]
    for one in policies:
        one["metadata"]["name"] += "-typed"
        one["spec"]["matchConditions"].append({"name": "never", "expression": "false"})
    apply(cluster, policies)
    try:
        for one in policies:

            def checked(name: str = one["metadata"]["name"]) -> Json | None:
                found = cluster.get("validatingadmissionpolicy", name)
                done = found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
                return found["status"] if done else None

            status = wait_until(checked, f"the types of {one['metadata']['name']} to be checked")
            warnings = status.get("typeChecking", {}).get("expressionWarnings", [])
            assert [row for row in warnings if "leaderworkerset" not in row["warning"]] == [], one["metadata"]["name"]
    finally:
        cluster.kubectl("delete", "validatingadmissionpolicies", *(one["metadata"]["name"] for one in policies))


def test_where_only_some_namespaces_pods_may_be_seen_the_rights_end_there(cluster: Cluster) -> None:
    objects = manifests(cluster, "reader.enabled=false", "controller.podNamespaces={team-a,team-b}", "controller.logFormat=json")
    (role,) = [one for one in objects if one["kind"] == "ClusterRole" and one["metadata"]["name"] == f"{RELEASE}-controller"]
    assert not any("pods" in rule["resources"] for rule in role["rules"])
    roles = [one for one in objects if one["kind"] == "Role" and one["metadata"]["name"] == f"{RELEASE}-controller-pods"]
    assert [one["metadata"]["namespace"] for one in roles] == ["team-a", "team-b"]
    assert all("list" in one["rules"][0]["verbs"] for one in roles)
    (deployment,) = [one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == f"{RELEASE}-controller"]
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--pod-namespace=team-a", "--pod-namespace=team-b", "--log-format=json"} <= set(arguments)


def test_where_pods_are_seen_in_named_namespaces_only_reader_pods_are_made_there_only(cluster: Cluster) -> None:
    objects = manifests(cluster, "controller.podNamespaces={team-a}")

    def verbs(kind: str, name: str, resource: str) -> set[str]:
        (role,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
        return {verb for rule in role["rules"] if resource in rule["resources"] for verb in rule["verbs"]}

    assert verbs("ClusterRole", f"{RELEASE}-controller", "pods") == set()
    assert verbs("ClusterRole", f"{RELEASE}-controller", "pods/log") == set()
    assert {"get", "create", "delete"} <= verbs("Role", f"{RELEASE}-controller-pods", "pods")
    assert verbs("Role", f"{RELEASE}-controller-pods", "pods/log") == {"get"}


def test_the_controller_writes_status_but_not_spec(cluster: Cluster) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-controller"
    assert may(cluster, user, "patch", "inferencedeployments", group=GROUP, subresource="status")
    assert may(cluster, user, "patch", "clustermodelprofiles", group=GROUP, subresource="status")


@pytest.mark.parametrize(("role", "verb", "allowed"), [("view", "list", True), ("view", "create", False), ("edit", "create", True)])
def test_users_get_the_kinds_through_the_built_in_roles(cluster: Cluster, role: str, verb: str, *, allowed: bool) -> None:
    user = f"{role}-user"
    apply(
        cluster,
        [
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": user, "namespace": "default"},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
            }
        ],
    )
    # The aggregation controller copies the chart's rules into the built-in roles a moment after they appear.
    wait_until(
        lambda: may(cluster, user, "list", "inferencedeployments", group=GROUP, namespace="default"), "the built-in role to be aggregated"
    )
    assert may(cluster, user, verb, "inferencedeployments", group=GROUP, namespace="default") is allowed


def test_the_operators_token_reaches_the_controller_as_a_file_and_nobody_else(cluster: Cluster) -> None:
    objects = manifests(cluster, "hub.tokenSecret.name=hf", "hub.tokenSecret.key=hub", "hub.endpoint=https://mirror.example")
    pods = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"}
    controller = pods[f"{RELEASE}-controller"]
    assert {"name": "hub-token", "secret": {"secretName": "hf", "items": [{"key": "hub", "path": "token"}]}} in controller["volumes"]
    arguments = controller["containers"][0]["args"]
    assert {"--hub-token-file=/var/run/plimsoll/hub/token", "--hub-endpoint=https://mirror.example"} <= set(arguments)
    assert "hub-token" not in str(pods[f"{RELEASE}-webhook"])
    offline = manifests(cluster, "hub.offline=true")
    (plain,) = [one for one in offline if one["kind"] == "Deployment" and one["metadata"]["name"] == f"{RELEASE}-controller"]
    assert "--offline" in plain["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "hub-token" not in str(plain)


def test_the_whole_chart_is_accepted_with_images_and_service(cluster: Cluster) -> None:
    """Server-side dry run: schemas, the webhook's CEL conditions and Pod Security are checked, nothing is kept."""
    paths = {
        "Secret": f"/api/v1/namespaces/{NAMESPACE}/secrets",
        "Service": f"/api/v1/namespaces/{NAMESPACE}/services",
        "Deployment": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
        "NetworkPolicy": f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies",
        "PodDisruptionBudget": f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets",
        "ValidatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    }
    closed = ("networkPolicy.enabled=true", "networkPolicy.apiServers={10.0.0.1/32,fd00::1/128}", f"webhook.clientCA={PEM}")
    values = (*closed, "hub.tokenSecret.name=hf", "controller.env[0].name=HTTPS_PROXY", "controller.env[0].value=x")
    objects = [one for one in manifests(cluster, *values) if one["kind"] in paths]
    assert {one["kind"] for one in objects} == set(paths)
    for one in objects:
        one["metadata"]["name"] += "-dry"
        status, answer = cluster.request("POST", f"{paths[one['kind']]}?dryRun=All&fieldValidation=Strict", one)
        assert status == 201, f"{one['kind']} {one['metadata']['name']}: {answer.get('message')}"


@pytest.mark.parametrize(
    ("account", "path", "level"),
    [
        pytest.param("controller", f"{LEASES}/namespaces/{NAMESPACE}/leases/plimsoll-controller", "leader-election", id="its own Lease"),
        pytest.param(
            "controller", f"{LEASES}/namespaces/kube-system/leases/x", "workload-high", id="another Lease is a request like others"
        ),
        pytest.param("controller", f"/apis/{GROUP}/v1alpha1/inferencedeployments", "workload-high", id="what the controller watches"),
        pytest.param("webhook", f"/apis/{GROUP}/v1alpha1/gpupools", "workload-high", id="what the webhook watches"),
        pytest.param("webhook", "/version", "workload-high", id="what is no resource"),
        pytest.param("default", "/api/v1/pods", "workload-low", id="other accounts stay where they are"),
    ],
)
def test_the_api_server_serves_the_two_accounts_apart_from_a_flood_of_others(cluster: Cluster, account: str, path: str, level: str) -> None:
    """It names in each answer the level that it came from, also where RBAC refuses the request itself."""
    schemas = [one for one in manifests(cluster, "processes.enabled=false") if one["kind"] == "FlowSchema"]
    assert len(schemas) == 2
    apply(cluster, schemas)
    levels = {one["metadata"]["uid"]: one["metadata"]["name"] for one in cluster.get("prioritylevelconfigurations")["items"]}
    user = f"system:serviceaccount:{NAMESPACE}:" + (account if account == "default" else f"{RELEASE}-{account}")

    def served_from() -> str:
        try:
            told = cluster.kubectl("get", "--raw", path, f"--as={user}", "--as-group=system:serviceaccounts", "-v=8").stderr
        except KubectlError as error:
            told = error.stderr
        found = re.search(r"X-Kubernetes-Pf-Prioritylevel-Uid: ?\"?([0-9a-f-]{36})", told, re.IGNORECASE)
        assert found is not None, told
        return str(levels[found[1]])

    wait_until(lambda: served_from() == level, f"{path} of {user} to be served from {level}, not {served_from()}")


def test_the_flow_schemas_are_left_out_where_somebody_has_their_own(cluster: Cluster) -> None:
    assert not any(one["kind"] == "FlowSchema" for one in manifests(cluster, "flowSchemas.enabled=false"))


def test_the_webhooks_reviews_are_the_api_servers_alone_where_that_is_configured(cluster: Cluster) -> None:
    values = ("networkPolicy.enabled=true", "networkPolicy.apiServers={10.0.0.1/32,fd00::1/128}", f"webhook.clientCA={PEM}")
    closed = {(one["kind"], one["metadata"]["name"]): one for one in manifests(cluster, *values)}
    ingress = closed["NetworkPolicy", f"{RELEASE}-webhook"]["spec"]["ingress"]
    assert [row["ipBlock"]["cidr"] for row in ingress[0]["from"]] == ["10.0.0.1/32", "fd00::1/128"]
    assert [rule["ports"][0]["port"] for rule in ingress] == ["https", "metrics"]
    assert closed["ConfigMap", f"{RELEASE}-webhook-client-ca"]["data"] == {"ca.crt": PEM}
    pod = closed["Deployment", f"{RELEASE}-webhook"]["spec"]["template"]["spec"]
    assert "--client-ca=/etc/plimsoll/client-ca/ca.crt" in pod["containers"][0]["args"]
    assert {probe["httpGet"]["port"] for key, probe in pod["containers"][0].items() if key.endswith("Probe")} == {"metrics"}
    bare = next(one for one in manifests(cluster) if (one["kind"], one["metadata"]["name"]) == ("Deployment", f"{RELEASE}-webhook"))
    assert not any(argument.startswith("--client-ca") for argument in bare["spec"]["template"]["spec"]["containers"][0]["args"])


def test_a_webhook_pod_has_time_to_drain_and_answers_within_the_rules_time(cluster: Cluster) -> None:
    objects = manifests(cluster, "webhook.timeoutSeconds=9", "webhook.drainSeconds=7")
    pod = next(one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == f"{RELEASE}-webhook")["spec"][
        "template"
    ]["spec"]
    assert {"--answer-within=9", "--drain=7"} <= set(pod["containers"][0]["args"])
    assert pod["terminationGracePeriodSeconds"] >= 7 + 9 + 5


def test_a_program_that_a_busy_node_is_slow_to_import_is_not_ended_meanwhile(cluster: Cluster) -> None:
    deployments = [one for one in manifests(cluster) if one["kind"] == "Deployment"]
    probes = [container["startupProbe"] for one in deployments for container in one["spec"]["template"]["spec"]["containers"]]
    assert len(probes) == 3
    assert min(probe["periodSeconds"] * probe["failureThreshold"] for probe in probes) >= 120


def test_a_url_without_its_authority_is_refused_by_name(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match=r"webhook\.caBundle is needed with webhook\.url"):
        manifests(cluster, "webhook.url=https://127.0.0.1:1/validate")


def keep_certificate(plane: ControlPlane) -> None:
    """The process of the chart's certificates.yaml, with its own account's token."""
    health, metrics = free_ports(2)
    names = [f"--secret={RELEASE}-webhook-certificate", f"--registration={RELEASE}", f"--service={RELEASE}-webhook"]
    ports = [f"--health-port={health}", f"--metrics-port={metrics}"]
    environment = {**plane.environment(plane.kubeconfig_for(NAMESPACE, f"{RELEASE}-certificates")), "PYTHONUNBUFFERED": "1"}
    program = [sys.executable, "-m", "plimsoll_operator.controller.certificates", f"--namespace={NAMESPACE}", *names, *ports]
    plane.processes.start("certificates", program, env=environment)


def versions(plane: ControlPlane) -> dict[str, str]:
    """What the release has made, and the version at which each object is but for its status."""
    kinds = "secrets,services,serviceaccounts,deployments,poddisruptionbudgets,roles,rolebindings"
    wide = "clusterroles,clusterrolebindings,validatingwebhookconfigurations,validatingadmissionpolicies,flowschemas,crd"
    found = [*plane.get(kinds, "-n", NAMESPACE)["items"], *plane.get(wide)["items"]]
    ours = [one for one in found if (one["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == "plimsoll"]
    for one in ours:
        one.pop("status", None)
        one["metadata"].pop("managedFields", None)
        if one["kind"] in ("Deployment", "PodDisruptionBudget", "FlowSchema", "CustomResourceDefinition", "ValidatingAdmissionPolicy"):
            one["metadata"].pop("resourceVersion")  # their status moves it
    return {f"{one['kind']}/{one['metadata']['name']}": json.dumps(one, sort_keys=True) for one in ours}


def test_helm_installs_upgrades_and_uninstalls(tmp_path: Path) -> None:
    """On a control plane of its own: the release's life, with kwok in place of the image."""
    release = (RELEASE, CHART, "--namespace", NAMESPACE)
    with ControlPlane.start(tmp_path) as plane:
        plane.add_nodes(FAKE_GPU_NODES[:1])
        plane.helm("install", *release, "--create-namespace", "--wait", "--timeout=180s")
        assert plane.get("fitpolicies")["items"][0]["metadata"]["name"] == "default"
        secret = ("secret", f"{RELEASE}-webhook-certificate", "-n", NAMESPACE)

        def bundles() -> list[str]:
            hooks = plane.get("validatingwebhookconfiguration", RELEASE)["webhooks"]
            return [hook["clientConfig"].get("caBundle", "") for hook in hooks]

        assert (bundles(), plane.get(*secret).get("data")) == (["", ""], None)
        keep_certificate(plane)
        certificate = wait_until(lambda: plane.get(*secret).get("data"), "the certificate to be made with the chart's own rights")
        wait_until(lambda: bundles() == [certificate["ca.crt"]] * 2, "the API server to be told to trust it")
        plane.kubectl("patch", "fitpolicy", "default", "--type=merge", "-p", '{"spec":{"mode":"Warn"}}')

        plane.helm("upgrade", *release, "--set", "webhook.replicas=3", "--wait", "--timeout=180s")
        assert plane.get(*secret)["data"] == certificate, "an upgrade keeps the certificate that serves now"
        assert bundles() == [certificate["ca.crt"]] * 2, "and that the API server trusts it"
        before = versions(plane)
        for way in ((), ("--server-side", "--force-conflicts")):  # as kubectl and as a GitOps tool apply it, after helm

            def apply(way: tuple[str, ...] = way) -> dict[str, str]:
                rendered = plane.helm("template", *release, "--set", "webhook.replicas=3", "--no-hooks")
                plane.kubectl("apply", *way, "-n", NAMESPACE, "-f", "-", stdin=rendered)
                return versions(plane)

            settled = apply()
            assert apply() == settled, "what is rendered anew and applied again changes no object"
            assert before.keys() == settled.keys()
        assert (plane.get(*secret)["data"], bundles()) == (certificate, [certificate["ca.crt"]] * 2)
        assert plane.get("fitpolicy", "default")["spec"]["mode"] == "Warn", "an upgrade keeps the administrator's policy"
        assert plane.get("deployment", f"{RELEASE}-webhook", "-n", NAMESPACE)["status"]["readyReplicas"] == 3

        plane.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
        kinds = [crd["metadata"]["name"] for crd in plane.get("crd")["items"]]
        assert f"inferencedeployments.{GROUP}" in kinds, "kinds and their objects outlive the release"
        assert plane.get("validatingwebhookconfigurations")["items"] == []
        plane.helm("install", *release, "--wait", "--timeout=180s")
        assert plane.get("fitpolicy", "default")["spec"]["mode"] == "Warn", "a new release adopts what the last one left"


def test_no_object_of_the_chart_takes_the_name_of_another(cluster: Cluster) -> None:
    named = [(one["apiVersion"], one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in manifests(cluster)]
    assert sorted(map(str, named)) == sorted(map(str, set(named)))
