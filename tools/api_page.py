"""Writes docs/api.md: every field of every kind, with type, unit, limits, default and meaning, as the CRDs have them.

    python -m tools.api_page [OUT]

Read from what `crdgen` makes of the API types, so the sentences are those of `kubectl explain`. An object that two fields share is
written out once and linked from the other.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from plimsoll_operator import crdgen

Schema: TypeAlias = Mapping[str, Any]
ROOT: Final = Path(__file__).parents[1]
DEFAULT_OUT: Final = ROOT / "docs" / "api.md"
OPENING: Final = """# API reference

Every field of the six kinds: its type with unit and limits, what holds without it, and what it means. Written by
`python -m tools.api_page` from the API types. House words are in the [glossary](words.md). A cluster says the same sentences:

<!-- run by tests/e2e/test_page_commands.py -->
```sh
kubectl explain inferencedeployments.spec.engine
```

A *quantity* is an integer or text as Kubernetes writes it: `21Gi` is 21 x 2^30 bytes, `500m` half a CPU. Bytes are whole bytes.
"""
EXAMPLES: Final = {
    "ModelProfile": """
apiVersion: inference.plimsoll.dev/v1alpha1
kind: ModelProfile
metadata: {name: in-house-8b, namespace: team-a}
spec:
  model: acme/in-house-8b          # as spec.model.name of the InferenceDeployments has it
  config: '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16",
    "max_position_embeddings": 131072}'
""",
    "GPUPool": """
apiVersion: inference.plimsoll.dev/v1alpha1
kind: GPUPool
metadata: {name: rack-a}
spec:
  selector: {rack: a}
  product: NVIDIA-L4
  usableMemoryBytes: 21Gi
""",
    "FitPolicy": """
apiVersion: inference.plimsoll.dev/v1alpha1
kind: FitPolicy
metadata: {name: team-a}
spec:
  namespaceSelector: {matchLabels: {team: a}}
  maxGpusPerNamespace: 16
  allowedImages: [docker.io/vllm/vllm-openai]
""",
    "EngineCalibration": """
apiVersion: inference.plimsoll.dev/v1alpha1
kind: EngineCalibration
metadata: {name: l4-activation}
spec:
  corrections:
    - engineMinor: "0.19"
      product: NVIDIA-L4
      component: activation
      addBytes: 268435456
      evidence:
        - {model: meta-llama/Llama-3.1-8B-Instruct, namespace: team-a, predictedBytes: 251658240, observedBytes: 520093696}
""",
}
SHARED: Final = {"ClusterModelProfile": "As a ModelProfile, with `kind: ClusterModelProfile` and no namespace: for all of them."}
MOST_SHOWN: Final = 1 << 31
"""A limit of counts from here on says that there is none in practice."""


def example(kind: str) -> str:
    """A manifest of the kind, or where to find one."""
    if kind == "InferenceDeployment":
        name = "08-chat-workload.yaml"
        return f"[examples/{name}](../examples/{name}):\n\n```yaml\n{(ROOT / 'examples' / name).read_text('utf-8').strip()}\n```"
    return SHARED[kind] if kind in SHARED else f"```yaml\n{EXAMPLES[kind].strip()}\n```"


def unit(field: str) -> str:
    """The unit that a field's name ends in."""
    ends = {"Bytes": "bytes", "Millis": "thousandths of a CPU", "Seconds": "seconds", "Tokens": "tokens", "Percent": "percent"}
    return next((word for end, word in ends.items() if field.endswith(end) or field == end.lower()), "")


def size(count: int) -> str:
    """A limit in bytes as a person says it."""
    for power, name in ((50, "PiB"), (40, "TiB"), (30, "GiB")):
        if abs(count) >= 1 << power and count % (1 << power) == 0:
            return f"{count >> power} {name}"
    return str(count)


def bounds(schema: Schema, *, in_bytes: bool) -> str:
    """From where to where a number goes; nothing where only the least is said and it is 0."""
    least, most = schema.get("minimum"), schema.get("maximum")
    if most is None or (most >= MOST_SHOWN - 1 and not in_bytes):
        return f"{'above' if schema.get('exclusiveMinimum') else 'at least'} {least}" if least else ""
    shown = [size(value) if in_bytes else str(value) for value in (least or 0, most)]
    return f"above {shown[0]}, to {shown[1]}" if schema.get("exclusiveMinimum") else f"{shown[0]} to {shown[1]}"


def kind_of(field: str, schema: Schema) -> str:
    """Type, unit and limits of one value."""
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity" + (f", {limits}" if (limits := bounds(schema, in_bytes=True)) else "")
    match schema["type"]:
        case "array":
            return f"list, at most {schema['maxItems']}, of {kind_of(field, schema['items'])}"
        case "object" if "additionalProperties" in schema:
            return f"map, at most {schema['maxProperties']}, to {kind_of(field, schema['additionalProperties'])}"
        case "object":
            return "object"
        case "string":
            return "time" if schema.get("format") == "date-time" else f"text, at most {schema['maxLength']} characters"
        case "integer" | "number" as number:
            words = [number, unit(field), bounds(schema, in_bytes=field.endswith("Bytes"))]
            return ", ".join(word for word in words if word)
        case other:
            return str(other)


def inner(schema: Schema) -> tuple[str, Schema] | None:
    """The object that a field holds, and what the path to it has more than the field's."""
    if schema.get("properties"):
        return "", schema
    if "items" in schema:
        return ("[]", schema["items"]) if schema["items"].get("properties") else None
    return None


def anchor(title: str) -> str:
    """The name of a chapter, as code hosts and the site make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


class Writer:
    """Writes objects out in the order in which their fields stand, each once."""

    def __init__(self) -> None:
        self.written: dict[str, str] = {}
        """What was written out already: its fields -> its title."""

    def objects(self, title: str, schema: Schema) -> Iterator[str]:
        """The chapter of an object, then those of the objects in it."""
        self.written[self.key(schema)] = title
        pending: list[tuple[str, Schema]] = []
        rows = [f"### {title}", "", "| field | type and limits | without it | meaning |", "|---|---|---|---|"]
        for name, field in schema["properties"].items():
            held = inner(field)
            shown = f"`{name}`"
            if held:
                more, part = held
                there = self.written.get(self.key(part))
                if not there:
                    there = f"{title}.{name}{more}"
                    self.written[self.key(part)] = there
                    pending.append((there, part))
                shown = f"[`{name}`](#{anchor(there)})"
            rows.append(f"| {shown} | {kind_of(name, field)} | {self._without(name, field, schema)} | {meaning(field)} |")
        yield "\n".join(rows)
        if rules := [rule_said(rule) for rule in schema.get("x-kubernetes-validations", ())]:
            yield "\n".join(["Held by the API server:", "", *(f"* {rule}" for rule in dict.fromkeys(rules))])
        for path, part in pending:
            yield from self.objects(path, part)

    @staticmethod
    def key(schema: Schema) -> str:
        """The fields of an object, to know it again; how a text of them is held to its spelling depends on where the object stands."""

        def told(field: Schema) -> Schema:
            kept = {key: value for key, value in field.items() if key != "pattern"}
            return kept if "properties" in field else {key: value for key, value in kept.items() if key != "x-kubernetes-validations"}

        return json.dumps({name: told(field) for name, field in schema["properties"].items()}, sort_keys=True)

    @staticmethod
    def _without(name: str, field: Schema, schema: Schema) -> str:
        if name in schema.get("required", ()):
            return "required"
        default = field.get("default")
        if default is None or default == "":
            return ""
        return f"`{json.dumps(default) if isinstance(default, bool) else default}`"


def rule_said(rule: Schema) -> str:
    """The sentence of a rule, with the field that it is about."""
    field = rule.get("fieldPath", "").lstrip(".")
    return f"`{field}`: {rule['message']}" if field else str(rule["message"])


def meaning(field: Schema) -> str:
    """The sentence of `kubectl explain`, on one line."""
    return " ".join(field["description"].split()).replace("|", "\\|")


def chapter(kind: crdgen.Kind, writer: Writer) -> Iterator[str]:
    """One kind: what it is, an example, its fields."""
    manifest = crdgen.manifest(kind)
    names, scope = manifest["spec"]["names"], manifest["spec"]["scope"]
    schema = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield f"## {names['kind']}"
    short = f", short `{names['shortNames'][0]}`" if "shortNames" in names else ""
    yield f"{schema['description']} `{names['plural']}`{short}; {'in a namespace' if scope == 'Namespaced' else 'of the whole cluster'}."
    yield example(names["kind"])
    for part in ("spec", "status"):
        field = schema["properties"].get(part)
        if field is None:
            continue
        if there := writer.written.get(Writer.key(field)):
            yield f"`{part}` is that of [{there}](#{anchor(there)})."
        else:
            yield from writer.objects(f"{names['kind']} {part}", field)


def page() -> str:
    """The whole page."""
    writer = Writer()
    parts = [OPENING.strip()]
    for kind in crdgen.KINDS:
        parts += chapter(kind, writer)
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the page."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT
    out.write_text(page(), "utf-8")
    print(out)


if __name__ == "__main__":
    main()
