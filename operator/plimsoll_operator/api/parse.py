"""From a manifest to frozen values: the one door through which InferenceDeployments enter, and its one error.

Called by webhook, controller and CLI. Judges types, bounds and cross-field rules exactly as the API server does; knows
nothing about models or GPUs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from plimsoll_estimator import InvalidInput, check_text
from plimsoll_operator.api.base import (
    CPU_PATTERN,
    CSI_DRIVER,
    DNS_LABEL,
    DNS_NAME,
    GPU_RESOURCES,
    IMAGE_REFERENCE,
    LABEL_KEY,
    LABEL_VALUE,
    MODEL_PATH,
    QUANTITY_PATTERN,
    ApiModel,
    camel_path,
)
from plimsoll_operator.api.forbidden import what_instead
from plimsoll_operator.api.inference_deployment import InferenceDeployment
from plimsoll_operator.api.model_profile import ClusterModelProfile, ModelProfile
from plimsoll_operator.api.policy import EngineCalibration, FitPolicy
from plimsoll_operator.api.pool import GPUPool
from plimsoll_operator.names import API_VERSION, GPU_RESOURCE
from plimsoll_operator.text import one_line

MAX_CAUSES: Final = 16
_SHOWN: Final = 60
_MOST_NAMED: Final = 300
KINDS: Final[Mapping[str, type[BaseModel]]] = {
    kind.__name__: kind for kind in (InferenceDeployment, ModelProfile, ClusterModelProfile, GPUPool, FitPolicy, EngineCalibration)
}
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One fault: field path in camel case, the offending value as shown to people, and the sentence."""

    field: str
    value: str
    message: str

    def __str__(self) -> str:
        shown = f" {self.value}" if self.value else ""
        return f"{self.field}:{shown} {self.message}"


class ApiError(ValueError):
    """An object that the API does not accept. `causes` name every fault; the message is the first one."""

    def __init__(self, causes: tuple[Cause, ...]) -> None:
        self.causes = causes
        super().__init__("; ".join(str(cause) for cause in causes[:3]))


def _show(value: object) -> str:
    if isinstance(value, Mapping | list | tuple):
        return ""
    text = json.dumps(value) if isinstance(value, str | int | float | bool) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


_SENTENCES: Final[Mapping[str, str]] = {
    "rule": "{message}",
    "value_error": "{error}",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} entries",
}
"""pydantic's kinds of errors (pydantic_core, `list_all_errors`) whose context says the limit."""


SPELLED: Final[Mapping[str, str]] = {
    DNS_NAME: "qwen3-8b.models",
    DNS_LABEL: "qwen3-8b",
    LABEL_KEY: "example.com/zone",
    LABEL_VALUE: "NVIDIA-H100-80GB-HBM3",
    QUANTITY_PATTERN: "20Gi",
    CPU_PATTERN: "500m",
    MODEL_PATH: "meta-llama/Llama-3.1-8B-Instruct",
    IMAGE_REFERENCE: "vllm/vllm-openai:v0.19.0",
    r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$": "Found",
    r"^[.]?[-_A-Za-z0-9][-._A-Za-z0-9]*$": "config.json",
    r"^/[^:]*$": "/mnt/data",
    r"^/": "/health",
    r"^[^/].*$": "qwen3/8b",
    r"^[a-z]([a-z0-9]|-[a-z0-9])*$": "metrics",
    CSI_DRIVER: "csi.example.com",
    r"^[0-9]{1,9}(Mi|Gi)?$": "16Gi",
    r"^[a-z0-9_-]+$": "fp8",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "HF_HUB_OFFLINE",
    GPU_RESOURCES: GPU_RESOURCE,
    r"^[0-9]{1,2}[.][0-9]$": "9.0",
    r"^[0-9]{1,4}[.][0-9]{1,4}$": "0.19",
}
"""Pattern of a type -> what a text of it looks like: nobody who writes a manifest is shown a regular expression."""


def spelling(pattern: str) -> str:
    """What is said of a text that this pattern does not match."""
    example = SPELLED.get(pattern)
    return f"cannot be spelled so: write it like {example}" if example is not None else "cannot be spelled so"


def _sentence(error: Mapping[str, Any]) -> str:
    kind = error["type"]
    if kind == "string_pattern_mismatch":
        return spelling(error["ctx"]["pattern"])
    if kind in _SENTENCES:
        return _SENTENCES[kind].format_map(error.get("ctx", {}))
    return _WORDS.get(kind) or str(error["msg"])


def _unknown(path: str) -> str:
    """What is said of a field that no type has."""
    instead = what_instead(path)
    return _WORDS["extra_forbidden"] if instead is None else f"is no field of the overlay: it {instead}"


def _cause(error: Mapping[str, Any]) -> Cause:
    location = tuple(part for part in error["loc"] if part != "[key]")
    context = error.get("ctx", {})
    path = camel_path(location) + (str(context.get("field", "")) if error["type"] == "rule" else "")
    value = "" if error["type"] in ("missing", "rule") else _show(error["input"])
    message = _unknown(path) if error["type"] == "extra_forbidden" else _sentence(error)
    return Cause(field=one_line(path.lstrip("."), _MOST_NAMED), value=value, message=message)


@cache
def known_fields(kind: type[BaseModel]) -> Mapping[str, type[ApiModel] | None]:
    """Field alias -> the model of its value or list entries, if it is one."""
    return {field.alias or name: _model_in(field.annotation) for name, field in kind.model_fields.items()}


def _model_in(annotation: object) -> type[ApiModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _pruned(kind: type[BaseModel], value: Any, *, newer: bool) -> Any:
    """The object without null fields: the API server prunes them before it defaults and validates.

    `newer` also passes over fields that only a newer release knows, except where leaving one out would turn the rest round.
    """
    if isinstance(value, list | tuple):
        return [_pruned(kind, entry, newer=newer) for entry in value]
    if not isinstance(value, Mapping):
        return value
    fields = known_fields(kind)
    newer = newer and not getattr(kind, "CLOSED", False)
    kept: dict[Any, Any] = {}
    for key, inner in value.items():
        model = fields.get(key)
        if (key in fields and inner is None) or (key not in fields and newer):
            continue
        kept[key] = _pruned(model, inner, newer=newer) if model else _without_nulls(inner)
    return kept


def _without_nulls(value: Any) -> Any:
    return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, Mapping) else value


def parse_object(kind: type[T], obj: Mapping[str, Any], *, newer: bool = False) -> T:
    """Parse one object of `kind`. Raises ApiError with up to MAX_CAUSES causes; nothing else for any JSON value.

    `newer` is for what the API server keeps (see `stored`); what a user writes is read without it, and an unknown field is a fault.
    """
    if not isinstance(obj, Mapping):
        raise ApiError((Cause(field="", value=_show(obj), message=f"must be an object of kind {kind.__name__}"),))
    for field, wanted in (("apiVersion", API_VERSION), ("kind", kind.__name__)):
        if obj.get(field) != wanted:
            raise ApiError((Cause(field=field, value=_show(obj.get(field)), message=f"must be {wanted}"),))
    return parse_part(kind, obj, newer=newer)


def parse_part(kind: type[T], obj: Mapping[str, Any], *, newer: bool = False) -> T:
    """The same for a part of an object, which carries no kind."""
    try:
        check_text(obj, "")
    except InvalidInput as error:
        value = "" if error.value is None else _show(error.value)
        raise ApiError((Cause(field=error.field.lstrip("."), value=value, message=error.limit),)) from error
    try:
        text = json.dumps(_pruned(kind, obj, newer=newer), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ApiError((Cause(field="", value="", message="holds values that JSON does not have"),)) from error
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise ApiError(tuple(_cause(fault) for fault in faults[:MAX_CAUSES])) from error


def parse_inference_deployment(obj: Mapping[str, Any]) -> InferenceDeployment:
    """Parse an InferenceDeployment. Raises ApiError naming field, value and limit of every fault."""
    return parse_object(InferenceDeployment, obj)
