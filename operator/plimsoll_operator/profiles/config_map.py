"""A config.json in a ConfigMap (spec.model.profile.configMapRef), as a Source and as the ModelProfile that is made of it.

Used by the controller, which reads the ConfigMap, and by the CLI, which finds it among its files. No weights are beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api import ConfigMapKeyRef, ModelProfile, ProfileOrigin, parse_object
from plimsoll_operator.profiles.build import Target, build_profile
from plimsoll_operator.profiles.source import SourceFailure
from plimsoll_operator.read_request import ConfigMapKey, ReadRequest
from plimsoll_operator.reasons import NoShape

_NAME: Final = "config.json"
_MAX_SOURCE: Final = 256


class ConfigText:
    """One file in memory. `kind` is what the ModelProfile says of where it comes from."""

    __slots__ = ("_data", "_kind", "_revision")

    def __init__(self, text: str, *, kind: str, revision: str | None) -> None:
        self._data = text.encode()
        self._kind = kind
        self._revision = revision

    @property
    def kind(self) -> str:
        """As given."""
        return self._kind

    @property
    def revision(self) -> str | None:
        """As given: a text does not know."""
        return self._revision

    def sizes(self) -> Mapping[str, int]:
        """The one file."""
        return {_NAME: len(self._data)}

    def read(self, name: str, offset: int, length: int) -> bytes:
        """A part of the text."""
        return self._data[offset : offset + length] if name == _NAME else b""


def profile_from_config_map(data: Mapping[str, Any], request: ReadRequest, obtained_at: str) -> tuple[ModelProfile, tuple[str, ...]]:
    """The profile, and what is not known of it. Raises SourceFailure where the key is missing, InvalidInput where it holds no config.

    `data` is the ConfigMap's; `request` must be of a ConfigMapKey.
    """
    source = request.source
    if not isinstance(source, ConfigMapKey):
        raise TypeError(f"{source} is no key of a ConfigMap")
    where = f"ConfigMap {request.namespace}/{source.name}"
    text = data.get(source.key)
    if not isinstance(text, str):
        raise SourceFailure(NoShape.NOT_FOUND, f"{where} has no text under the key {source.key}")
    target = Target(
        model=request.model,
        namespace=request.namespace,
        name=request.profile_name,
        obtained_at=obtained_at,
        origin=ProfileOrigin(config_map_ref=ConfigMapKeyRef(name=source.name, key=source.key)),
    )
    kind = f"configMap {source.name}/{source.key}"[:_MAX_SOURCE]
    try:
        built = build_profile(ConfigText(text, kind=kind, revision=request.revision), target, lambda *_: None)
    except InvalidInput as error:
        raise InvalidInput(f"key {source.key} of {where}: {error.field}", error.value, error.limit) from error
    return parse_object(ModelProfile, built.manifest), built.notes
