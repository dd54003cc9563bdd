"""What all API types share: the frozen base model, bounded building blocks, and rules that exist once for Python and CEL.

The kinds are built from it; `crdgen` reads its annotations. Knows no kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from plimsoll_operator.quantity import parse_quantity
from plimsoll_operator.text import one_line

Manifest: TypeAlias = dict[str, Any]
"""An object of the API server, or a part of one, as decoded JSON: on its way in not parsed yet, on its way out made."""
MAX_BYTES: Final = 1 << 50

QUANTITY_PATTERN: Final = r"^[0-9]{1,15}([.][0-9]{1,9})?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
CPU_PATTERN: Final = r"^[0-9]{1,9}([.][0-9]{1,3})?m?$"
GPU_RESOURCES: Final = r"^(nvidia[.]com/(gpu([.]shared)?|mig-[0-9a-z.-]{0,31}[0-9a-z])|amd[.]com/gpu)$"
CSI_DRIVER: Final = r"^[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$"
MODEL_PATH: Final = r"^[A-Za-z0-9._/][A-Za-z0-9._/-]*$"
IMAGE_REFERENCE: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$"
DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_KEY_NAME: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
DNS_NAME: Final = f"^{_SUBDOMAIN}$"
LABEL_KEY: Final = f"^({_SUBDOMAIN}/)?{_KEY_NAME}$"
ANNOTATION_KEY: Final = f"^({_SUBDOMAIN.replace('a-z0-9', 'A-Za-z0-9')}/)?{_KEY_NAME}$"
"""As LABEL_KEY, the prefix in any case (apimachinery, ValidateAnnotations)."""
_LONGEST_PREFIX: Final = 253
_SHOWN: Final = 60
MAX_LABEL_VALUE: Final = 63
LABEL_VALUE: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One cross-field rule, written for the API server (`cel`, over `self`) and for Python (`holds`).

    The corpus test proves that both say the same. `field` is the path below the object that carries the rule, "" for
    the object itself; `transition` rules compare with `oldSelf` and are the API server's alone. `shows` and `cel_shows` give the value
    that breaks the rule, as text, where the field holds more than that; the message then ends with it.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
    field: str = ""
    transition: bool = False
    shows: Callable[[Any], str] | None = None
    cel_shows: str = ""


def exactly_one(*fields: str) -> Rule:
    """Of several fields, in camel case, one is set and no other."""
    names = [re.sub("([A-Z])", r"_\1", field).lower() for field in fields]
    given = ", ".join(f"has(self.{field})" for field in fields)
    return Rule(
        cel=f"[{given}].filter(x, x).size() == 1",
        holds=lambda value: sum(getattr(value, name) is not None for name in names) == 1,
        message=f"exactly one of {', '.join(fields[:-1])} and {fields[-1]} must be set",
    )


class ApiModel(BaseModel):
    """Base of all API values: frozen, camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="null",
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()
    CLOSED: ClassVar[bool] = False
    """A field of a newer release may not be passed over in here: without it the others would mean something else."""

    @model_validator(mode="after")
    def _rules(self) -> Self:
        for rule in self.RULES:
            if not rule.holds(self):
                message = rule.message if rule.shows is None else f"{rule.message}: {rule.shows(self)}"
                raise PydanticCustomError("rule", "{message}", {"message": message, "field": rule.field})
        return self


class StatusModel(ApiModel):
    """Base of what only the operator writes: a newer operator's extra fields are ignored when read."""

    model_config = ConfigDict(extra="ignore")


def _byte_quantity(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(QUANTITY_PATTERN, value):
        raise ValueError("must be a quantity such as 256Mi")
    return parse_quantity(value) if isinstance(value, str) else value


ByteQuantity = Annotated[
    int,
    Field(ge=0, le=MAX_BYTES),
    BeforeValidator(_byte_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": 32, "minimum": 0, "maximum": MAX_BYTES}),
]
"""Bytes, given as an integer or as a quantity string ("256Mi"); held as an int, rounded up."""


def text_quantity(value: object) -> object:
    """A whole number as text: what is kept as written may be written as either."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


MemoryText = Annotated[
    str,
    Field(pattern=QUANTITY_PATTERN, max_length=32),
    BeforeValidator(text_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": 32, "minimum": 0}),
]
"""A memory quantity kept as written, for passing on to a pod."""
CpuText = Annotated[
    str,
    Field(pattern=CPU_PATTERN, max_length=16),
    BeforeValidator(text_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": CPU_PATTERN, "maxLength": 16, "minimum": 0}),
]
"""A CPU quantity kept as written ("500m", 2)."""

Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
Timestamp = Annotated[str, Field(max_length=64), WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64})]
Count = Annotated[int, Field(ge=0, le=1 << 31)]
Tokens = Annotated[int, Field(ge=0, le=1 << 40)]
ShortText = Annotated[str, Field(max_length=256)]
LongText = Annotated[str, Field(max_length=4096)]
Decimal = Annotated[str, Field(max_length=32)]
"""A number whose textual form is fixed, so that no client rounds it."""
Name = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_NAME)]
NamespaceName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
ModelName = Annotated[str, Field(min_length=1, max_length=200, pattern=MODEL_PATH)]
Revision = Annotated[str, Field(min_length=1, max_length=200, pattern=MODEL_PATH)]
ProductName = Annotated[str, Field(min_length=1, max_length=128, pattern=LABEL_VALUE)]
LabelKey = Annotated[str, Field(min_length=1, max_length=317, pattern=LABEL_KEY)]
LabelText = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
LabelMap = Annotated[dict[Annotated[str, Field(max_length=317)], LabelText], Field(max_length=64)]
"""Keys are not judged here: a map whose keys end in objects of the API server has `keys_rule` beside it."""
CsiDriver = Annotated[str, Field(min_length=1, max_length=63, pattern=CSI_DRIVER)]
ImageReference = Annotated[str, Field(min_length=1, max_length=512, pattern=IMAGE_REFERENCE)]
ImagePullPolicy = Literal["Always", "IfNotPresent", "Never"]
FileKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[.]?[-_A-Za-z0-9][-._A-Za-z0-9]*$")]


def is_key(key: str, pattern: str = LABEL_KEY) -> bool:
    """Whether the API server takes the key of a label; with ANNOTATION_KEY, of an annotation."""
    return re.fullmatch(pattern, key) is not None and key.find("/") <= _LONGEST_PREFIX


def keys_rule(field: str, of: Callable[[Any], Iterable[str]], pattern: str = LABEL_KEY) -> Rule:
    """Every key of the map `field` (camel case; `of` in Python) is one that the API server takes in what is made of it."""
    holds = f"key.matches('{pattern}') && key.indexOf('/') <= {_LONGEST_PREFIX}"
    kind = "annotation" if pattern == ANNOTATION_KEY else "label"
    return Rule(
        cel=f"!has(self.{field}) || self.{field}.all(key, {holds})",
        holds=lambda value: all(is_key(key, pattern) for key in of(value)),
        message=(
            f"must have keys of {kind}s, a DNS name of at most {_LONGEST_PREFIX} characters and a slash where wanted, then at most 63 of"
            " A-Z, a-z, 0-9, -, _ and . that begin and end with a letter or digit, which this is not"
        ),
        field=f".{field}",
        shows=lambda value: one_line(next(key for key in of(value) if not is_key(key, pattern)), _SHOWN),
        cel_shows=f"self.{field}.filter(key, !({holds})).map(key, key.substring(0, key.size() < {_SHOWN} ? key.size() : {_SHOWN}))[0]",
    )


class ObjectMeta(BaseModel):
    """The parts of Kubernetes' metadata that Plimsoll reads. The rest is the API server's business."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    deletion_timestamp: str | None = None
    creation_timestamp: str | None = None


class Toleration(ApiModel):
    """A toleration, as in a pod."""

    key: LabelKey | None = None
    """Taint key; absent with operator Exists tolerates every key."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists ignores the value."""
    value: LabelText | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect; absent matches all."""
    toleration_seconds: Annotated[int, Field(ge=0, le=1 << 40)] | None = None
    """How long a NoExecute taint is tolerated."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.key) || self.operator == 'Exists'",
            holds=lambda t: t.key is not None or t.operator == "Exists",
            message="operator must be Exists when key is absent",
            field=".operator",
        ),
        Rule(
            cel="self.operator != 'Exists' || !has(self.value) || self.value == ''",
            holds=lambda t: t.operator != "Exists" or not t.value,
            message="value must be absent when operator is Exists",
            field=".value",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            holds=lambda t: t.toleration_seconds is None or t.effect == "NoExecute",
            message="effect must be NoExecute when tolerationSeconds is set",
            field=".effect",
        ),
        Rule(
            cel=f"!has(self.key) || self.key.indexOf('/') <= {_LONGEST_PREFIX}",
            holds=lambda t: t.key is None or t.key.find("/") <= _LONGEST_PREFIX,
            message=f"the part before the slash must have at most {_LONGEST_PREFIX} characters",
            field=".key",
        ),
    )


class Taint(ApiModel):
    """A node taint."""

    key: LabelKey
    """Taint key."""
    value: LabelText = ""
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    """What the taint does to pods that do not tolerate it."""


class Condition(StatusModel):
    """A condition in Kubernetes' usual form."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """Which condition."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """PascalCase reason."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """A sentence for people."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation this was judged for."""
    last_transition_time: Timestamp
    """When status last changed."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


@cache
def largest(kind: type[StatusModel]) -> Mapping[str, int]:
    """By alias of a field the largest whole number it holds, where it is bounded."""
    rows = ((name, part) for name, field in kind.model_json_schema()["properties"].items() for part in field.get("anyOf", [field]))
    return {name: part["maximum"] for name, part in rows if "maximum" in part}


def saturated(kind: type[StatusModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a status, by alias, each at most what its field holds. For what is counted: beyond the bound nothing real is."""
    most = largest(kind)
    return {name: min(value, most[name]) if name in most and isinstance(value, int) else value for name, value in values.items()}


def camel_path(parts: tuple[int | str, ...]) -> str:
    """("spec", "extraArgs", 0) -> "spec.extraArgs[0]"."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else (f".{part}" if path else str(part))
    return path
