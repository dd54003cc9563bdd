"""The CRD files are what the types say, and every schema node is bounded and structural."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.folders import ROOT

from plimsoll_operator import crdgen

CRDS = ROOT / "crds"
ALLOWED = {
    "type", "format", "description", "properties", "required", "items", "enum", "pattern", "default", "additionalProperties",
    "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties",
    "x-kubernetes-validations", "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}  # fmt: skip


@cache
def crd(plural: str) -> Mapping[str, Any]:
    """As the file has it, made once: to be read only."""
    return crdgen.manifest(next(kind for kind in crdgen.KINDS if kind.plural == plural))


def _nodes(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _nodes(f"{path}.{name}", inner)
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _nodes(f"{path}[]", schema[key])


def _all_nodes() -> list[tuple[str, Mapping[str, Any]]]:
    nodes: list[tuple[str, Mapping[str, Any]]] = []
    for kind in crdgen.KINDS:
        schema = crd(kind.plural)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        nodes += [n for part in ("spec", "status") for n in _nodes(f"{kind.plural}.{part}", schema["properties"][part])]
    return nodes


def test_files_are_what_the_types_say() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in CRDS.glob("*.yaml")} == crdgen.files()


def test_every_node_is_structural_bounded_and_described() -> None:
    nodes = _all_nodes()
    assert len(nodes) > 300
    for path, node in nodes:
        assert set(node) <= ALLOWED, f"{path} has keywords that CRDs do not know: {set(node) - ALLOWED}"
        assert "type" in node or node.get("x-kubernetes-int-or-string"), f"{path} has no type"
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, f"{path} is an unbounded string"
        if node.get("type") == "array":
            assert "maxItems" in node, f"{path} is an unbounded list"
        if "additionalProperties" in node:
            assert "maxProperties" in node, f"{path} is an unbounded map"
        if not path.endswith("[]"):
            assert node.get("description"), f"{path} has no description for kubectl explain"


@pytest.mark.parametrize("name", sorted(f"{kind.plural}.yaml" for kind in crdgen.KINDS))
def test_a_drifted_file_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crdgen.main(["--out", str(tmp_path)]) == 0
    assert crdgen.main(["--check", "--out", str(tmp_path)]) == 0
    (tmp_path / name).write_text("kind: Other\n", encoding="utf-8")
    assert crdgen.main(["--check", "--out", str(tmp_path)]) == 1
    assert name in capsys.readouterr().err


def test_the_deployment_prints_the_columns_people_look_for() -> None:
    columns = crd("inferencedeployments")["spec"]["versions"][0]["additionalPrinterColumns"]
    narrow = [column["name"].upper() for column in columns if not column.get("priority")]
    wide = [column["name"].upper() for column in columns if column.get("priority")]
    assert narrow == ["MODEL", "GPU", "TP", "UTIL", "CONTEXT", "FIT", "READY", "STATUS", "REASON", "AGE"]
    assert wide == ["SINCE", "KV-TOKENS", "PREDICTED", "OBSERVED", "ERROR"]


def spellings(schema: Mapping[str, Any], path: str = "spec") -> Iterator[tuple[str, str]]:
    """Path and regular expression of every text at a fixed place that the API server's own keyword would refuse."""
    if "pattern" in schema:
        yield path, schema["pattern"]
    for name, inner in schema.get("properties", {}).items():
        yield from spellings(inner, f"{path}.{name}")


@pytest.mark.parametrize("name", sorted(kind.plural for kind in crdgen.KINDS))
def test_no_text_at_a_fixed_place_is_refused_with_a_regular_expression(name: str) -> None:
    spec = crd(name)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert list(spellings(spec)) == []


@pytest.mark.parametrize(
    ("path", "example"),
    [
        ("model.name", "meta-llama/Llama-3.1-8B-Instruct"),
        ("engine.image", "vllm/vllm-openai:v0.19.0"),
        ("engine.quantization", "fp8"),
        ("fit.reserveBytes", "20Gi"),
    ],
)
def test_what_users_spell_wrong_is_answered_with_an_example_by_the_api_server_too(path: str, example: str) -> None:
    field = crd("inferencedeployments")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for part in path.split("."):
        field = field["properties"][part]
    (said,) = [row["message"] for row in field["x-kubernetes-validations"] if "matches" in row["rule"]]
    assert said == f"cannot be spelled so: write it like {example}"


SETTLED = {
    "replicas", "fit.policy", "fit.reserveBytes", "placement.maxNodesPerReplica", "placement.sharing", "placement.waitForCapacity",
    "workload.headroomPercent",
}  # fmt: skip


def test_no_release_adds_a_default_to_what_deployments_have_already() -> None:
    """The API server fills it into every object that is there: it would be another spec, and pods of another plan."""
    spec = "inferencedeployments.spec."
    shallow = [(path.removeprefix(spec), node) for path, node in _all_nodes() if path.startswith(spec) and path.count(".") <= 3]
    assert {path for path, node in shallow if "default" in node and "[]" not in path} == SETTLED
