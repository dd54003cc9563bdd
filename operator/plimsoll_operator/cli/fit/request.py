"""What `plimsoll fit` is asked, as values; and the InferenceDeployment that asks it of one GPU product. Judges nothing.

The manifest made here is the one that is decided about and the one that `-o manifest` prints, so that what is applied is what was shown.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_estimator import NEWEST_KNOWN, EngineVersion, InvalidInput, parse_int
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.upgrade import release_named

STATED_TOKENS: Final = 8192
"""Length of the requests that are counted where no --context says one."""
_MOST_VALUES: Final = 8
_MOST_USERS: Final = 1 << 20
_MOST_SIZE: Final = 64
_MOST_TOKENS: Final = 1 << 31
_LONGEST_NAME: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """One model under one release. `sizes` are the tensor parallel sizes asked for and `lengths` the contexts; empty: to be chosen.

    `users` are requests in flight at once, 0 where nobody has said. `namespace` is None where none was named.
    """

    model: str
    version: EngineVersion
    sizes: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    users: int = 0
    namespace: str | None = None

    @property
    def name(self) -> str:
        """A name for the object: the model's own, as a Service may be called."""
        text = re.sub(r"[^a-z0-9]+", "-", self.model.rpartition("/")[2].lower()).strip("-")
        return (text if text[:1].isalpha() else f"m-{text}")[:_LONGEST_NAME].rstrip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Parallel sizes that are pinned; None: to be chosen."""

    tensor: int | None = None
    pipeline: int | None = None
    expert: bool | None = None


ANY_LAYOUT: Final = Layout()
"""Nothing pinned."""


def fit_request_of(options: argparse.Namespace, model: str) -> FitRequest:
    """The question as it was typed. Raises InvalidInput naming option, value and limit."""
    version = NEWEST_KNOWN if options.engine_version is None else release_named(options.engine_version, "--engine-version")
    users = 0 if options.users is None else _within(parse_int(options.users, "--users", "int"), "--users", _MOST_USERS)
    return FitRequest(
        model=model,
        version=version,
        sizes=_numbers(options.tp, "--tp", "int", _MOST_SIZE),
        lengths=_numbers(options.context, "--context", "human_int", _MOST_TOKENS),
        users=users,
        namespace=options.namespace,
    )


def _numbers(texts: list[str], option: str, kind: str, most: int) -> tuple[int, ...]:
    """Values by commas or by saying the option again, each once, the smallest first."""
    words = [word.strip() for text in texts for word in text.split(",")]
    found = {_within(parse_int(word, option, kind), option, most) for word in words}
    if len(found) > _MOST_VALUES:
        raise InvalidInput(option, len(found), f"values are more than {_MOST_VALUES}")
    return tuple(sorted(found))


def _within(value: int, option: str, most: int) -> int:
    if not 1 <= value <= most:
        raise InvalidInput(option, value, f"must be from 1 to {most}")
    return value


def manifest_of(
    request: FitRequest,
    layout: Layout = ANY_LAYOUT,
    length: int | None = None,
    product: str | None = None,
    sharing: str = "none",
) -> dict[str, Any]:
    """The InferenceDeployment of the request: with these sizes and this context pinned, on that product; what is None is left open."""
    metadata = {"name": request.name} | ({"namespace": request.namespace} if request.namespace is not None else {})
    engine: dict[str, Any] = {"image": f"vllm/vllm-openai:v{request.version}"}
    pinned = {"tensorParallelSize": layout.tensor, "pipelineParallelSize": layout.pipeline, "expertParallel": layout.expert}
    engine |= {name: value for name, value in pinned.items() if value is not None}
    spec: dict[str, Any] = {"model": {"name": request.model}, "engine": engine}
    tokens = length or STATED_TOKENS
    if request.users:
        spec["workload"] = _workload(tokens, request.users)
    elif length is not None:
        engine["maxModelLen"] = length
    if product is not None:
        spec["placement"] = {"gpuProducts": [product]} | ({"sharing": sharing} if sharing != "none" else {})
    return {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": metadata, "spec": spec}


def _workload(tokens: int, users: int) -> dict[str, Any]:
    """So many requests in flight, each as long as was said: a quarter of it answer. Lengths said are the longest, so nothing is added."""
    answer = max(1, tokens // 4)
    row = {"name": "users", "promptTokens": max(1, tokens - answer), "outputTokens": answer, "percentile": 100, "concurrency": users}
    return {"requestClasses": [row], "headroomPercent": 0}
