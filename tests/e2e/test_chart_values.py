"""Values that the chart cannot mean are refused by `helm template` in words: what would render to nothing is not passed over."""

from pathlib import Path

import pytest
import yaml
from tests.controlplane import Cluster
from tests.documents import documents
from tests.e2e.certificate import PEM
from tests.e2e.installation import CHART, NAMESPACE, RELEASE

pytestmark = pytest.mark.e2e
TYPOS = [
    "image.repo=x", "imagePullSecret[0].name=x", "process.enabled=false", "namespace.created=true", "crds.enabled=false",
    "controller.replica=1", "controller.podNamespace={a}", "controller.serviceAccount[0].name=x",
    "controller.resources.limit.memory=1Gi", "hub.offLine=true", "hub.tokenSecret.secretName=x", "networkPolicy.enable=true",
    "networkPolicy.egressPort={443}", "readers.enabled=false", "reader.pullSecrets={a}", "webhook.clientCa=x", "webhook.tls.secret=x",
    "webhook.timeout=5", "webhook.failPolicy=Ignore", "fitPolicy.created=false", "guards.enabled=false", "guard.enable=false",
    "bypass.enable=true", "flowSchema.enabled=false", "tolerations[0].keys=x", "priorityClass=x", "controller.env[0].nam=x",
]  # fmt: skip
WRONG = [
    ("a tag that is a number to helm, 1e3 or 0x10 too", "image.tag=20261129", "tag"),
    ("a policy that is none", "webhook.failurePolicy=Fial", "failurePolicy"),
    ("a replica count in words", "webhook.replicas=two", "replicas"),
    ("an account without its namespace", "controller.serviceAccounts[0].name=engine", "namespace"),
    ("an account of an empty namespace", "controller.serviceAccounts[0].namespace=,controller.serviceAccounts[0].name=e", "namespace"),
    ("an account without a name", "controller.serviceAccounts[0].namespace=team", "name"),
    ("a driver that is no name", "controller.csiDrivers={a b}", "csiDrivers"),
    ("a namespace that is no name", "controller.podNamespaces={Team}", "podNamespaces"),
    ("a form of the log that there is not", "controller.logFormat=xml", "logFormat"),
    ("a timeout that the API server does not take", "webhook.timeoutSeconds=31", "timeoutSeconds"),
    ("an authority that is no PEM", "webhook.clientCA=x", "webhook.clientCA holds no certificate"),
    ("an authority that is base64 encoded", "webhook.clientCA=LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t", "not base64 encoded"),
    ("a bundle that is no base64", "webhook.caBundle=x", "webhook.caBundle holds no certificate"),
    ("a bundle that encodes something else", "webhook.caBundle=aGVsbG8=", "webhook.caBundle holds no certificate"),
]


def rendered(cluster: Cluster, *settings: str | Path) -> str:
    return cluster.helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *settings)


@pytest.mark.parametrize("typo", TYPOS)
def test_a_key_that_the_chart_does_not_know_is_refused_by_name(cluster: Cluster, typo: str) -> None:
    unknown = next(part for part in typo.partition("=")[0].replace("[0]", "").split(".") if part not in known(typo))
    with pytest.raises(RuntimeError, match=rf"[Aa]dditional propert(y|ies) '?{unknown}'? .*not allowed"):
        rendered(cluster, "--set", typo)


def known(typo: str) -> set[str]:
    """The parts of a path that the chart's own values have."""
    values, found = yaml.safe_load((CHART / "values.yaml").read_text()), set[str]()
    for part in typo.partition("=")[0].replace("[0]", "").split("."):
        if not isinstance(values, dict) or part not in values:
            break
        found.add(part)
        values = values[part]
    return found


@pytest.mark.parametrize(("why", "setting", "says"), WRONG, ids=[row[0] for row in WRONG])
def test_a_value_that_cannot_be_meant_is_refused(cluster: Cluster, why: str, setting: str, says: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        rendered(cluster, "--set", setting)
    assert says in str(refused.value), why


def test_a_private_key_is_not_put_where_everybody_may_read(cluster: Cluster, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"webhook": {"clientCA": PEM + PEM.replace("CERTIFICATE", "PRIVATE KEY")}}))
    with pytest.raises(RuntimeError, match=r"webhook[.]clientCA holds a private key"):
        rendered(cluster, "--values", values)


def test_what_kubernetes_takes_in_values_is_let_through(cluster: Cluster, tmp_path: Path) -> None:
    values = {
        "global": {"anything": 1},
        "image": {"tag": "1.10"},
        "imagePullSecrets": [{"name": "mirror"}],
        "controller": {
            "env": [{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "resources": {"requests": {"cpu": 1, "memory": "1Gi", "example.com/x": 1}, "limits": {}},
            "serviceAccounts": [{"namespace": "team", "name": "engine"}],
            "podNamespaces": ["team-a"],
            "csiDrivers": ["secrets-store.csi.k8s.io"],
            "hostNetwork": True,
        },
        "webhook": {"clientCA": PEM},
        "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]},
        "fitPolicy": {"spec": {"mode": "Warn"}},
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
    }
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    made = documents(rendered(cluster, "--values", file))
    uses = [one for one in made if one["kind"] == "Role" and one["metadata"]["name"] == f"{RELEASE}-controller-uses-engine"]
    assert [one["metadata"]["namespace"] for one in uses] == ["team"]
