"""FitPolicies on the real API server: warn instead of refuse, deny the undecided, and cap a namespace, also by scale."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml
from tests.controlplane import Cluster, ControlPlane, KubectlError
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.demo import EXAMPLES
from tests.e2e.granting import grant
from tests.e2e.installation import GROUP, Installation, policy

pytestmark = pytest.mark.e2e


def example(name: str) -> Json:
    """One of the examples as a manifest."""
    manifest: Json = yaml.safe_load((EXAMPLES / name).read_text())
    return manifest


def dry_run(cluster: Cluster, namespace: str, manifest: Json, *more: str) -> subprocess.CompletedProcess[str]:
    """What kubectl says to a server-side dry run."""
    return cluster.kubectl("apply", "--dry-run=server", "-n", namespace, *more, "-f", "-", stdin=json.dumps(manifest), check=False)


def dry_run_when(
    cluster: Cluster, namespace: str, manifest: Json, *more: str, refused: bool, until: str
) -> subprocess.CompletedProcess[str]:
    """The first dry run that is refused, or is not: before, the webhook does not know the policy yet."""
    answers: list[subprocess.CompletedProcess[str]] = []

    def answered() -> bool:
        answers.append(dry_run(cluster, namespace, manifest, *more))
        return (answers[-1].returncode != 0) == refused

    wait_until(answered, until)
    return answers[-1]


def test_warn_mode_turns_a_refusal_into_a_warning(installation: Installation, namespace: str) -> None:
    cluster, wish = installation.cluster, example("06-rejected-context.yaml")
    refused = dry_run(cluster, namespace, wish)
    assert (refused.returncode, "does not fit" in refused.stderr) == (1, True)
    with policy(cluster, namespace, mode="Warn"):
        warned = dry_run_when(cluster, namespace, wish, refused=False, until="the webhook to see the policy")
        assert "Warning: would be rejected" in warned.stderr
        queued = example("06-rejected-context.yaml")
        queued["spec"]["placement"]["queueName"] = "team"
        still = dry_run(cluster, namespace, queued)
        assert (still.returncode, "is not supported yet" in still.stderr) == (1, True)


def test_the_undecided_are_refused_where_the_policy_denies(installation: Installation, namespace: str) -> None:
    cluster, wish = installation.cluster, example("07-unknown-model.yaml")
    assert "Warning: undecided (UnknownModel)" in dry_run(cluster, namespace, wish).stderr
    with policy(cluster, namespace, unknownModel="Deny"):
        denied = dry_run_when(cluster, namespace, wish, refused=True, until="the webhook to see the policy")
        assert "spec.model.name: undecided (UnknownModel)" in denied.stderr


def test_a_cap_refuses_more_replicas_also_by_scale_but_never_fewer(installation: Installation, namespace: str) -> None:
    cluster, wish = installation.cluster, example("02-resized-to-one-l4.yaml")
    name = wish["metadata"]["name"]
    with policy(cluster, namespace, maxGpusPerNamespace=1):
        too_many = example("02-resized-to-one-l4.yaml")
        too_many["spec"]["replicas"] = 2
        capped = dry_run_when(cluster, namespace, too_many, refused=True, until="the webhook to see the policy")
        assert "bring the namespace to 2 GPUs, the FitPolicy allows 1" in capped.stderr
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(wish))
        wait_until(lambda: cluster.get("infd", name, "-n", namespace).get("status", {}).get("plan"), "the plan in status")

        def refused_scale() -> str:
            try:
                cluster.kubectl("scale", f"infd/{name}", "-n", namespace, "--replicas=3")
            except KubectlError as error:
                return error.stderr
            cluster.kubectl("scale", f"infd/{name}", "-n", namespace, "--replicas=1")
            return ""

        # The rule for scale fails open, so the first try may come before the webhook has seen the plan.
        assert "the FitPolicy allows 1" in wait_until(refused_scale, "scale to be refused")
        cluster.kubectl("scale", f"infd/{name}", "-n", namespace, "--replicas=0")
        assert cluster.get("infd", name, "-n", namespace)["spec"]["replicas"] == 0


def scaled(cluster: Cluster, namespace: str, name: str, replicas: int, *, user: str = "tenant") -> bool:
    """Whether `kubectl scale` as a user with the role edit gets through."""
    scale = ("scale", f"infd/{name}", "-n", namespace, f"--replicas={replicas}", f"--as={user}")
    return cluster.kubectl(*scale, check=False).returncode == 0


def test_the_way_over_none_passes_no_cap(installation: Installation, namespace: str) -> None:
    cluster, wish = installation.cluster, example("02-resized-to-one-l4.yaml")
    name = wish["metadata"]["name"]
    grant(cluster, namespace, "tenant", "edit")
    with policy(cluster, namespace, maxGpusPerNamespace=2):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(wish))
        wait_until(lambda: cluster.get("infd", name, "-n", namespace).get("status", {}).get("plan"), "the plan in status")
        wait_until(lambda: scaled(cluster, namespace, name, 0), "the built-in role to be aggregated")
        wait_until(lambda: not scaled(cluster, namespace, name, 4), "the webhook to refuse what is beyond the cap")
        assert scaled(cluster, namespace, name, 0)
        assert not scaled(cluster, namespace, name, 4), "a Scale of none has no replicas to compare with"
        assert scaled(cluster, namespace, name, 2)


def test_what_passes_a_cap_while_no_webhook_answers_is_held_by_the_controller(installation: Installation, namespace: str) -> None:
    cluster, wish = installation.cluster, example("02-resized-to-one-l4.yaml")
    name = wish["metadata"]["name"]
    grant(cluster, namespace, "tenant", "edit")

    def asked() -> int:
        found: int = cluster.get("deployment", name, "-n", namespace)["spec"]["replicas"]
        return found

    def refused() -> str:
        rows = cluster.get("infd", name, "-n", namespace)["status"]["conditions"]
        return next((row["message"] for row in rows if (row["type"], row["reason"]) == ("Feasible", "PolicyCap")), "")

    with policy(cluster, namespace, maxGpusPerNamespace=2):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(wish))
        wait_until(lambda: len(cluster.pods(namespace)) == 1, "its pod")
        wait_until(lambda: scaled(cluster, namespace, name, 1), "the built-in role to be aggregated")
        installation.stop("webhook")
        try:
            assert scaled(cluster, namespace, name, 0)
            assert scaled(cluster, namespace, name, 4), "an autoscaler goes on while no webhook answers"
            wait_until(lambda: "the FitPolicy allows 2. 2 of 4 replicas are kept." in refused(), "the controller to say what it holds")
            assert asked() == 2
            assert scaled(cluster, namespace, name, 2)
            wait_until(lambda: not refused(), "nothing to be held any more")
            wait_until(lambda: len(cluster.pods(namespace)) == 2, "two pods")
            kept = {pod["metadata"]["uid"] for pod in cluster.pods(namespace)}
            cluster.kubectl("patch", "fitpolicy", namespace, "--type=merge", "-p", '{"spec":{"maxGpusPerNamespace":1}}')
            assert scaled(cluster, namespace, name, 3)
            # The policy may be heard of before the scale: then it is first said of the two that run.
            wait_until(lambda: "the FitPolicy allows 1. 2 of 3 replicas are kept." in refused(), "the lowered cap to be held")
            assert {pod["metadata"]["uid"] for pod in cluster.pods(namespace)} == kept, "no pod is taken away"
        finally:
            installation.start_webhook()


def bypassed(wish: Json, why: str) -> Json:
    """The wish with the annotation, pinned so that pods can be made of it."""
    pinned = {"tensorParallelSize": 1, "gpuMemoryUtilization": 0.9}
    return wish | {
        "metadata": {**wish["metadata"], "annotations": {"inference.plimsoll.dev/bypass": why}},
        "spec": {**wish["spec"], "engine": {**wish["spec"]["engine"], **pinned}},
    }


def test_a_bypass_is_for_those_who_hold_the_right_and_while_it_is_protected(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    wish = bypassed(example("06-rejected-context.yaml"), "measured: it starts on our cards")
    name = wish["metadata"]["name"]
    grant(cluster, namespace, "ann", "edit")
    grant(cluster, namespace, "root-ann", "edit", "plimsoll-bypass")

    def apply_as(user: str, manifest: Json) -> subprocess.CompletedProcess[str]:
        return cluster.kubectl("apply", f"--as={user}", "-n", namespace, "-f", "-", stdin=json.dumps(manifest), check=False)

    refused = apply_as("ann", wish)
    assert (refused.returncode, "needs the verb bypass" in refused.stderr) == (1, True), refused.stderr
    blank = apply_as("root-ann", bypassed(wish, "   "))
    assert "says why the prediction is set aside" in blank.stderr
    allowed = apply_as("root-ann", wish)
    assert allowed.returncode == 0, allowed.stderr
    assert "Would be rejected (InsufficientKvCache), but the bypass annotation says so" in allowed.stderr
    wait_until(lambda: cluster.pods(namespace), "pods of the bypassed deployment")
    status = wait_until(lambda: cluster.get("infd", name, "-n", namespace).get("status"), "its status")
    feasible = next(row for row in status["conditions"] if row["type"] == "Feasible")
    assert (feasible["status"], feasible["reason"]) == ("False", "InsufficientKvCache")

    longer = {**wish, "spec": {**wish["spec"], "replicas": 2}}
    assert "needs the verb bypass" in apply_as("ann", longer).stderr, "what the annotation covers is the spec it was written for"
    off = ("annotate", f"infd/{name}", "-n", namespace, f"{GROUP}/bypass-")
    kept = cluster.kubectl(*off, "--as=ann", check=False)
    assert "needs the verb bypass" in kept.stderr, "what runs by it would be anybody's to multiply"
    assert cluster.kubectl(*off, "--as=root-ann", "--dry-run=server", check=False).returncode == 0
    labelled = cluster.kubectl("label", f"infd/{name}", "-n", namespace, "--as=ann", "team=a", check=False)
    assert labelled.returncode == 0, labelled.stderr

    wait_until(lambda: not scaled(cluster, namespace, name, 2, user="ann"), "the API server to know the object that is scaled")
    installation.stop("webhook")
    try:
        assert not scaled(cluster, namespace, name, 2, user="ann"), "no webhook is needed for that"
        assert scaled(cluster, namespace, name, 0, user="ann"), "fewer need no right"
        assert not scaled(cluster, namespace, name, 1, user="ann")
        assert scaled(cluster, namespace, name, 1, user="root-ann")
    finally:
        installation.start_webhook()

    policy_object = cluster.get("validatingadmissionpolicybinding", "plimsoll-bypass")
    cluster.kubectl("delete", "validatingadmissionpolicybinding", "plimsoll-bypass")
    try:
        unprotected = {**wish, "metadata": {**wish["metadata"], "name": "unprotected"}}
        wait_until(lambda: apply_as("ann", unprotected).returncode == 0, "the API server to forget the binding")

        def stalled() -> bool:
            rows = cluster.get("infd", "unprotected", "-n", namespace).get("status", {}).get("conditions", [])
            return any((row["type"], row["status"]) == ("Stalled", "True") for row in rows)

        wait_until(stalled, "the controller to refuse what nobody could have authorised")
        assert cluster.kubectl("get", "deployment", "unprotected", "-n", namespace, check=False).returncode == 1
        assert cluster.kubectl("get", "deployment", name, "-n", namespace).returncode == 0, "running pods stay"
    finally:
        binding = {key: policy_object[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "plimsoll-bypass"}}
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(binding))


def test_a_calibration_says_which_of_its_corrections_count(installation: Installation, namespace: str) -> None:
    cluster = installation.cluster
    evidence = [
        {"model": f"acme/{model}", "namespace": where, "predictedBytes": 10 << 30, "observedBytes": 11 << 30}
        for model, where in (("a", "blue"), ("b", "green"), ("c", "blue"))
    ]
    row = {"engineMinor": "0.19", "component": "nonTorch", "addBytes": 1 << 30, "evidence": evidence}
    calibration = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "EngineCalibration",
        "metadata": {"name": namespace},
        "spec": {"corrections": [row]},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(calibration))

    def said(status: str, reason: str) -> bool:
        rows = cluster.get("enginecalibration", namespace).get("status", {}).get("conditions", [])
        return [(one["status"], one["reason"]) for one in rows] == [(status, reason)]

    try:
        wait_until(lambda: said("False", "NotTrusted"), "the controller to say that no policy trusts anybody")
        with policy(cluster, namespace, calibrationTrust={"mode": "Apply", "namespaces": ["blue", "green"]}):
            wait_until(lambda: said("True", "Applied"), "the correction to count")
    finally:
        cluster.kubectl("delete", "enginecalibration", namespace)


@contextmanager
def newer_fit_policies(cluster: Cluster) -> Iterator[None]:
    """The kind as a newer release may have it: a field and a mode that this one does not know. Put back at the end."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
    before = cluster.get("crd", f"fitpolicies.{GROUP}")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    changes = [
        {"op": "add", "path": f"{path}/properties/ofTomorrow", "value": {"type": "integer"}},
        {"op": "replace", "path": f"{path}/properties/mode/enum", "value": ["Enforce", "Warn", "Someday"]},
    ]
    cluster.kubectl("patch", "crd", f"fitpolicies.{GROUP}", "--type=json", "-p", json.dumps(changes))
    try:
        yield
    finally:
        restored = [{"op": "replace", "path": path, "value": before}]
        cluster.kubectl("patch", "crd", f"fitpolicies.{GROUP}", "--type=json", "-p", json.dumps(restored))


def accepted(cluster: Cluster, name: str) -> tuple[str, str]:
    """What Accepted says on a FitPolicy."""
    rows = cluster.get("fitpolicy", name).get("status", {}).get("conditions", [])
    return next(((row["status"], row["reason"]) for row in rows if row["type"] == "Accepted"), ("", ""))


def create_newer_policy(cluster: Cluster, namespace: str, spec: Json) -> None:
    """A FitPolicy of the newer release for one namespace, as soon as the API server serves its kind."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    made = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "FitPolicy", "metadata": {"name": namespace}}
    text = json.dumps(made | {"spec": {"namespaceSelector": selector} | spec})

    def stored() -> bool:
        done = cluster.kubectl("apply", "--validate=strict", "-f", "-", stdin=text, check=False)
        return done.returncode == 0 and all(field in cluster.get("fitpolicy", namespace)["spec"] for field in spec)

    wait_until(stored, "the API server to serve the newer kind")


def restart(installation: Installation) -> None:
    """This release, started on what a newer one has left: a watch from before still tells of objects as the older kind had them."""
    if not isinstance(installation.cluster, ControlPlane):
        return
    for name in ("webhook", "controller"):
        installation.stop(name)
    installation.start_webhook()
    installation.start_controller()


def test_a_policy_of_a_newer_release_still_denies_and_one_that_cannot_be_read_admits_nothing(
    installation: Installation, namespace: str
) -> None:
    cluster, unknown, wish = installation.cluster, example("07-unknown-model.yaml"), example("02-resized-to-one-l4.yaml")
    name = wish["metadata"]["name"]
    tenant = "--as=tenant"
    grant(cluster, namespace, "tenant", "edit")
    made = ("apply", "-n", namespace, tenant, "-f", "-")
    wait_until(lambda: cluster.kubectl(*made, stdin=json.dumps(wish), check=False).returncode == 0, "the built-in role to be aggregated")
    wait_until(lambda: cluster.pods(namespace), "pods of what was there before")
    with newer_fit_policies(cluster):
        try:
            create_newer_policy(cluster, namespace, {"unknownModel": "Deny", "ofTomorrow": 1})
            restart(installation)
            denied = dry_run_when(cluster, namespace, unknown, tenant, refused=True, until="the webhook to see the policy")
            assert "spec.model.name: undecided (UnknownModel)" in denied.stderr
            assert dry_run(cluster, namespace, wish, tenant).returncode == 0
            wait_until(lambda: accepted(cluster, namespace) == ("True", "PartlyKnown"), "the controller to name what it passes over")

            create_newer_policy(cluster, namespace, {"mode": "Someday"})
            other = {**wish, "metadata": {**wish["metadata"], "name": "other"}}
            refused = dry_run_when(cluster, namespace, other, tenant, refused=True, until="the webhook to see it")
            assert f"FitPolicy {namespace} cannot be read by this release: spec.mode" in refused.stderr
            assert dry_run(cluster, "default", other).returncode == 0, "its selector leaves other namespaces out"
            grown = cluster.kubectl("scale", f"infd/{name}", "-n", namespace, tenant, "--replicas=2", check=False)
            assert (grown.returncode, "cannot be read by this release" in grown.stderr) == (1, True), grown.stderr
            wait_until(lambda: accepted(cluster, namespace) == ("False", "Unreadable"), "the controller to say that it cannot be read")
            assert cluster.pods(namespace), "running pods stay"
        finally:
            cluster.kubectl("delete", "fitpolicy", namespace)


FORBIDDEN: list[tuple[str, Json, str]] = [
    ("engine", {"image": "vllm/vllm-openai:v0.19.0"}, "is not among the FitPolicy's allowedImages (ghcr.io/acme)"),
    ("engine", {"extraArgs": ["--trust_remote_code"]}, "which the FitPolicy's codeLoading denies"),
    ("placement", {"priorityClassName": "system-node-critical"}, "is not among the FitPolicy's allowedPriorityClasses"),
    ("placement", {"tolerations": [{"operator": "Exists"}]}, "is not among the FitPolicy's allowedTolerations"),
    ("template", {"sidecars": [{"name": "a", "image": "ghcr.io.evil.dev/acme/a"}]}, "is not among the FitPolicy's allowedImages"),
    ("template", {"env": [{"name": "VLLM_DEEPEP_BUFFER_SIZE_MB", "value": "9999"}]}, "may move GPU memory"),
    ("template", {"env": [{"name": "LD_PRELOAD", "value": "/data/x.so"}]}, "which the FitPolicy's codeLoading denies"),
    (
        "template",
        {"volumes": [{"name": "t", "mountPath": "/var//run/secrets/kubernetes.io/serviceaccount/", "secret": {"name": "legacy-token"}}]},
        "is where a pod's account lies",
    ),
    ("template", {"volumes": [{"name": "t", "mountPath": "//dev/shm", "emptyDir": {}}]}, "the plan mounts something here"),
]


def test_a_tenant_brings_into_a_pod_only_what_the_policy_allows(installation: Installation, namespace: str) -> None:
    """Whoever may edit the namespace tries each; the controller would hold the same."""
    cluster, wish = installation.cluster, example("02-resized-to-one-l4.yaml")
    wish["spec"]["engine"] |= {"image": "ghcr.io/acme/vllm:v0.19.0", "version": "0.19.0"}
    grant(cluster, namespace, "mallory", "edit")

    def try_as_mallory(part: str, more: Json) -> subprocess.CompletedProcess[str]:
        spec = {**wish["spec"], part: {**wish["spec"].get(part, {}), **more}}
        text = json.dumps({**wish, "spec": spec})
        return cluster.kubectl("apply", "--as=mallory", "--dry-run=server", "-n", namespace, "-f", "-", stdin=text, check=False)

    allowed = {
        "allowedImages": ["ghcr.io/acme"],
        "allowedPriorityClasses": ["low"],
        "allowedTolerations": ["team"],
        "codeLoading": "Deny",
    }
    with policy(cluster, namespace, **allowed):
        wait_until(lambda: try_as_mallory(*FORBIDDEN[0][:2]).returncode, "the webhook to see the policy")
        for part, more, words in FORBIDDEN:
            tried = try_as_mallory(part, more)
            assert (tried.returncode, words in tried.stderr) == (1, True), (more, tried.stderr)
        fine = try_as_mallory("placement", {"tolerations": [{"key": "team", "operator": "Exists"}], "priorityClassName": "low"})
        assert fine.returncode == 0, fine.stderr
