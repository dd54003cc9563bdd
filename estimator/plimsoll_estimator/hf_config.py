"""A Hugging Face config.json, read without trust: bounded, typed access by key, first key that is present wins.

The one place where the raw mapping is touched. Callers ask for a key and a type; a wrong type is `InvalidInput` naming
the key, never a traceback. Knows no model families.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.outside import parse_json_object

MAX_DIMENSION: Final = 1 << 40
_MOST_NESTED: Final = 8
_LONGEST_TEXT: Final = 4096
TEXT_KEYS: Final = ("text_config", "llm_config", "language_config", "thinker_config", "language_model_config")


class HfConfig:
    """Read-only view of one config mapping (root or nested), `path` names it in errors.

    `kept` is what was worked out from it, by question (`kept.kept_with_config`).
    """

    __slots__ = ("_data", "_flat", "_text", "kept", "path")

    def __init__(self, data: Mapping[str, Any], path: str = "config") -> None:
        if type(data) is not dict and not isinstance(data, Mapping):  # the first alone is quick
            raise InvalidInput(path, data, "must be a JSON object")
        self._data = data
        self._text: HfConfig | None = None
        self._flat = False
        self.kept: dict[Hashable, Any] = {}
        self.path = path

    @classmethod
    def from_json(cls, text: str, path: str = "config") -> HfConfig:
        """Parse JSON text. Raises InvalidInput on bad JSON, non-objects, nesting beyond 64 and text that is no UTF-8."""
        return cls(parse_json_object(text, path, infinite=True), path)

    def __contains__(self, key: str) -> bool:
        return self._data.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def raw(self, key: str) -> Any:
        """The value as parsed (None when absent). For unions only; prefer the typed readers."""
        return self._data.get(key)

    def as_mapping(self) -> Mapping[str, Any]:
        """The underlying mapping, for digests and for handing the config on unchanged."""
        return self._data

    def _fail(self, key: str, value: object, limit: str) -> InvalidInput:
        return InvalidInput(f"{self.path}.{key}", value, limit)

    def int_or_none(self, *keys: str) -> int | None:
        """The first present key as a non-negative int (whole floats accepted); None when none is present."""
        for key in keys:
            value = self._data.get(key)
            if value is None:
                continue
            if type(value) is int and 0 <= value <= MAX_DIMENSION:
                return value
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._fail(key, value, "must be a whole number")
            if not 0 <= value <= MAX_DIMENSION or value != int(value):
                raise self._fail(key, value, f"must be a whole number from 0 to {MAX_DIMENSION}")
            return int(value)
        return None

    def int(self, *keys: str, default: int | None = None) -> int:
        """As int_or_none, but absent means `default`, and absent without a default is InvalidInput."""
        first = self._data.get(keys[0])
        if type(first) is int and 0 <= first <= MAX_DIMENSION:  # nearly always
            return first
        value = self.int_or_none(*keys)
        if value is not None:
            return value
        if default is None:
            raise self._fail(keys[0], None, "is required")
        return default

    def float_or_none(self, *keys: str) -> float | None:
        """The first present key as a finite float."""
        for key in keys:
            value = self._data.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not -1e18 < value < 1e18:
                raise self._fail(key, value, "must be a finite number")
            return float(value)
        return None

    def bool(self, key: str, default: bool = False) -> bool:
        """A boolean; absent means `default`."""
        value = self._data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._fail(key, value, "must be true or false")
        return value

    def str_or_none(self, *keys: str) -> str | None:
        """The first present key as a string."""
        for key in keys:
            value = self._data.get(key)
            if value is None:
                continue
            if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
                raise self._fail(key, value, f"must be a string of at most {_LONGEST_TEXT} characters")
            return value
        return None

    def list_or_none(self, key: str) -> tuple[Any, ...] | None:
        """A JSON array as a tuple; elements are unchecked."""
        value = self._data.get(key)
        if value is None:
            return None
        if type(value) is not list and not isinstance(value, list | tuple):
            raise self._fail(key, value, "must be a list")
        return tuple(value)

    def sub(self, key: str) -> HfConfig | None:
        """A nested object, or None when absent."""
        value = self._data.get(key)
        if value is None:
            return None
        if type(value) is not dict and not isinstance(value, Mapping):
            raise self._fail(key, value, "must be an object")
        return HfConfig(value, f"{self.path}.{key}")

    @property
    def text(self) -> HfConfig:
        """The language model's own config, as Transformers' get_text_config finds it (nested once or twice)."""
        if self._flat:
            return self
        if self._text is not None:
            return self._text
        found, depth = self, 0
        while (inner := found._text_child()) is not None:
            found, depth = inner, depth + 1
            if depth > _MOST_NESTED:
                raise InvalidInput(self.path, list(self._data), f"nests more than {_MOST_NESTED} text configs")
        if found is self:
            self._flat = True  # no reference to itself, so that it is freed with all that is kept with it when it goes
        else:
            self._text = found  # asked for dozens of times an estimate
        return found

    def _text_child(self) -> HfConfig | None:
        for key in TEXT_KEYS:
            nested = self._data.get(key)
            if nested is not None and isinstance(nested, Mapping):
                return HfConfig(nested, f"{self.path}.{key}")
        return None

    @property
    def architecture(self) -> str:
        """The first entry of `architectures`. Raises InvalidInput when there is none."""
        names = self.list_or_none("architectures")
        if not names or not isinstance(names[0], str):
            raise self._fail("architectures", names, "must name the model class")
        return names[0]

    @property
    def model_type(self) -> str:
        """`model_type` of this level, or an empty string."""
        kind = self._data.get("model_type")
        if type(kind) is str and len(kind) <= _LONGEST_TEXT:
            return kind
        return self.str_or_none("model_type") or ""
