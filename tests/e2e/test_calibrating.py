"""The loop on a real API server: starts become an EngineCalibration by our command, kubectl applies it, and plans are judged by it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import GROUP, ROOT, Installation, policy
from tests.e2e.wishes import MERGE, Wishes, wish
from tests.plimsoll_operator.observing.learning_world import MODELS, log_of_model

pytestmark = pytest.mark.e2e
GIB = 1 << 30


def command(kubeconfig: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("plimsoll"))
    env = os.environ | {"KUBECONFIG": str(kubeconfig)}
    return subprocess.run([program, *map(str, words)], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)


def learned(installation: Installation, folder: Path, name: str) -> Json:
    """What the command makes of two logs each of two namespaces, whose engines took 1.5 GiB more than predicted."""
    before: list[str | Path] = []
    printed = ""
    for namespace, models in (("blue", MODELS[:2]), ("green", MODELS[2:4])):
        files = []
        for model in models:
            files.append(folder / f"{namespace}-{model.replace('/', '-')}.log")
            files[-1].write_text(log_of_model(model, 1.5), "utf-8")
        words = ("observe", *files, "--gpu", "NVIDIA-L4", "-n", namespace, *before, "-o", "calibration")
        done = command(installation.cluster.kubeconfig, *words)
        assert done.returncode == 0, done.stderr
        printed = done.stdout
        path = folder / f"{namespace}.yaml"
        path.write_text(printed, "utf-8")
        before = ["--add", path]
    found: Json = yaml.safe_load(printed)
    found["metadata"]["name"] = name
    return found


def test_what_starts_agree_on_is_proposed_to_plans_and_touches_no_pod(installation: Installation, namespace: str, tmp_path: Path) -> None:
    cluster, wishes = installation.cluster, Wishes(installation.cluster, namespace)
    calibration = learned(installation, tmp_path, namespace)
    wishes.create(wish("running"))
    wishes.ready("running")
    plan, uids = wishes.status("running")["plan"], wishes.uids("running")
    assert plan["causeOfDoubt"] == calibration["spec"]["corrections"][0]["causeOfDoubt"]
    try:
        with policy(cluster, namespace, calibrationTrust={"mode": "Apply", "namespaces": ["blue", "green"]}):
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(calibration))
            wait_until(lambda: _applied(cluster.get("enginecalibration", namespace)), "the correction to count")
            wishes.create(wish("new"))
            wishes.ready("new")
            corrected = wishes.status("new")["plan"]
            assert corrected["calibratedBytes"] == calibration["spec"]["corrections"][0]["addBytes"] > GIB
            assert corrected["kvCacheTokens"] < plan["kvCacheTokens"]
            (tmp_path / "wish.yaml").write_text(yaml.safe_dump(wish("asked")))
            told = command(cluster.kubeconfig, "plan", "-f", tmp_path / "wish.yaml", "-n", namespace).stdout
            assert "more beside the KV cache, by EngineCalibrations" in told
            assert f"Figures are corrected by EngineCalibration {namespace}" in told
            wait_until(lambda: wishes.status("running").get("proposedPlan") is not None, "another plan to be proposed for what runs")
            assert wishes.status("running")["plan"] == plan
            assert wishes.uids("running") == uids
    finally:
        cluster.kubectl("delete", "enginecalibration", namespace, check=False)


def _applied(found: Json) -> bool:
    rows = found.get("status", {}).get("conditions", [])
    return [(row["type"], row["status"], row["reason"]) for row in rows] == [("Applied", "True", "Applied")]


def test_what_the_controller_has_read_in_a_cluster_is_evidence(installation: Installation, namespace: str) -> None:
    """Nodes that are played have no logs: what an engine took is written into status as the controller would."""
    wishes = Wishes(installation.cluster, namespace)
    wishes.create(wish("observed"))
    wishes.ready("observed")
    plan = wishes.status("observed")["plan"]
    predicted = {name: size for name, size in plan["predicted"].items() if name.endswith("Bytes") and name != "totalBytes"}
    cache = predicted.pop("kvCacheBytes") - GIB
    memory = {"weightsBytes": predicted["weightsBytes"], "kvCacheBytes": cache}
    beside = sum(predicted.values()) + GIB
    start: dict[str, Any] = {"pod": "observed-1", "uid": "u", "memory": memory, "notKvCacheBytes": beside, "engineVersion": "0.19.0"}
    seen = {"planDigest": plan["digest"], "pod": "observed-1", "memory": memory, "notKvCacheBytes": beside, "starts": [start]}
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments/observed/status"
    status, answer = installation.cluster.request("PATCH", path, {"status": {"observed": seen}}, content_type=MERGE)
    assert status == 200, answer.get("message")
    done = command(installation.cluster.kubeconfig, "observe", "--cluster", "-n", namespace, "-o", "calibration")
    assert done.returncode == 0, done.stderr
    (row,) = yaml.safe_load(done.stdout)["spec"]["corrections"]
    assert [one["namespace"] for one in row["evidence"]] == [namespace]
    assert row["addBytes"] == 0
    assert f"{namespace}/observed, pod observed-1" in done.stderr
    assert "off by +1.0" in done.stderr
    page = command(installation.cluster.kubeconfig, "report", "observed", "-n", namespace)
    assert page.returncode == 0, page.stderr
    assert "Observed: pod observed-1" in page.stdout
    assert page.stdout.count('<span class="bar-title">observed</span>') == 1
