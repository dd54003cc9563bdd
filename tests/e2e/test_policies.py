"""FitPolicies on the real API server: warn instead of refuse, deny the undecided, and cap a namespace, also by scale."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml
from tests.controlplane import Cluster, KubectlError
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.demo import EXAMPLES
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e


def example(name: str) -> Json:
    """One of the examples as a manifest."""
    manifest: Json = yaml.safe_load((EXAMPLES / name).read_text())
    return manifest


@contextmanager
def policy(cluster: Cluster, namespace: str, **spec: object) -> Iterator[None]:
    """A FitPolicy that holds for one namespace."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "FitPolicy", "metadata": {"name": namespace}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest | {"spec": {"namespaceSelector": selector} | spec}))
    try:
        yield
    finally:
        cluster.kubectl("delete", "fitpolicy", namespace)


def dry_run(cluster: Cluster, namespace: str, manifest: Json) -> subprocess.CompletedProcess[str]:
    """What kubectl says to a server-side dry run."""
    return cluster.kubectl("apply", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(manifest), check=False)


def test_warn_mode_turns_a_refusal_into_a_warning(installation: Installation, namespace: str) -> None:
    cluster, wish = installation.cluster, example("06-rejected-context.yaml")
    refused = dry_run(cluster, namespace, wish)
    assert (refused.returncode, "does not fit" in refused.stderr) == (1, True)
    with policy(cluster, namespace, mode="Warn"):
        warned = wait_until(lambda: (done := dry_run(cluster, namespace, wish)).returncode == 0 and done, "the webhook to see the policy")
        assert "Warning: would be rejected" in warned.stderr
        lora = example("06-rejected-context.yaml")
        lora["spec"]["engine"]["lora"] = {}
        still = dry_run(cluster, namespace, lora)
        assert (still.returncode, "is not supported yet" in still.stderr) == (1, True)


def test_the_undecided_are_refused_where_the_policy_denies(installation: Installation, namespace: str) -> None:
    cluster, wish = installation.cluster, example("07-unknown-model.yaml")
    assert "Warning: undecided (UnknownModel)" in dry_run(cluster, namespace, wish).stderr
    with policy(cluster, namespace, unknownModel="Deny"):
        denied = wait_until(lambda: (done := dry_run(cluster, namespace, wish)).returncode and done, "the webhook to see the policy")
        assert "spec.model.name: undecided (UnknownModel)" in denied.stderr


def test_a_cap_refuses_more_replicas_also_by_scale_but_never_fewer(installation: Installation, namespace: str) -> None:
    cluster, wish = installation.cluster, example("02-resized-to-one-l4.yaml")
    name = wish["metadata"]["name"]
    with policy(cluster, namespace, maxGpusPerNamespace=1):
        too_many = example("02-resized-to-one-l4.yaml")
        too_many["spec"]["replicas"] = 2
        capped = wait_until(lambda: (done := dry_run(cluster, namespace, too_many)).returncode and done, "the webhook to see the policy")
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
