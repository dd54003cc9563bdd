"""Manifests to import, made small: a Deployment around one container, and what comes of it."""

from typing import Any

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing import Choices, Imported, Others, import_object


def a_deployment(container: Manifest, pod: Manifest | None = None, **spec: Any) -> Manifest:
    """A plain Deployment `served` that runs the container, of vLLM's 0.19.0 with one GPU unless it says otherwise."""
    full = {"name": "vllm", "image": "vllm/vllm-openai:v0.19.0", "resources": {"limits": {"nvidia.com/gpu": 1}}} | container
    template = {"metadata": {"labels": {"app": "served"}}, "spec": {"containers": [full], **(pod or {})}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "served"}, "spec": {"template": template, **spec}}


def imported(obj: Manifest, *others: Manifest, choices: Choices | None = None) -> Imported:
    """The one InferenceDeployment that comes of the object."""
    outcome = import_object(obj, Others.of([obj, *others]), choices or Choices())
    assert outcome.refusal is None, outcome.refusal
    (one,) = outcome.imported
    return one


def at(found: Any, path: str) -> Any:
    """The value below a path with dots, or None."""
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def said(one: Imported) -> str:
    """All notes as one text."""
    return "\n".join(map(str, one.notes))
