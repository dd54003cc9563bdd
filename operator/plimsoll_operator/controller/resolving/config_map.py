"""Shapes that users keep in a ConfigMap of their namespace (spec.model.profile.configMapRef). Read by the controller itself.

A Fetcher. ConfigMaps are read one by one when a deployment names them, never listed or watched: most of a cluster's are none of
our business. `upkeep` reads them again. The result is a ModelProfile of that namespace that answers for this ConfigMap only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_operator.api import ConfigMapKeyRef, ModelProfile, ProfileOrigin, parse_object
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import CONFIG_MAPS, Kube
from plimsoll_operator.profiles.build import Target, build_profile
from plimsoll_operator.profiles.text import ConfigText
from plimsoll_operator.wanted import ConfigMapKey, Wanted

_MAX_SOURCE: Final = 256
_AGAIN_SECONDS: Final = 60.0
"""How long a ConfigMap that has been put right may go unnoticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMaps:
    """See the module. `now` is the wall clock."""

    kube: Kube
    now: Callable[[], datetime]

    def answers(self, wanted: Wanted) -> bool:
        """Keys of ConfigMaps."""
        return isinstance(wanted.source, ConfigMapKey)

    def fetch(self, wanted: Wanted, stop: threading.Event) -> Fetched | FetchFailure:
        """See Fetcher.fetch. One request."""
        source = wanted.source
        if not isinstance(source, ConfigMapKey):
            return FetchFailure(reason="Unsupported", message="this is not a ConfigMap")
        where = f"ConfigMap {wanted.namespace}/{source.name}"
        try:
            found = self.kube.get(CONFIG_MAPS, wanted.namespace, source.name)
        except ApiFailure as failure:
            return FetchFailure(reason="Unreachable", message=f"{where}: {failure}")
        if found is None:
            return FetchFailure(reason="NotFound", message=f"there is no {where}", retry_within_seconds=_AGAIN_SECONDS)
        text = (found.get("data") or {}).get(source.key)
        if not isinstance(text, str):
            missing = f"{where} has no text under the key {source.key}"
            return FetchFailure(reason="NotFound", message=missing, retry_within_seconds=_AGAIN_SECONDS)
        try:
            return self._read(text, wanted, source)
        except InvalidInput as error:
            fault = f"key {source.key} of {where}: {error}"
            return FetchFailure(reason="Invalid", message=fault, retry_within_seconds=_AGAIN_SECONDS)

    def _read(self, text: str, wanted: Wanted, source: ConfigMapKey) -> Fetched:
        target = Target(
            model=wanted.model,
            namespace=wanted.namespace,
            name=wanted.profile_name,
            obtained_at=self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            origin=ProfileOrigin(config_map_ref=ConfigMapKeyRef(name=source.name, key=source.key)),
        )
        kind = f"configMap {source.name}/{source.key}"[:_MAX_SOURCE]
        built = build_profile(ConfigText(text, kind=kind, revision=wanted.revision), target, lambda *_: None)
        return Fetched(spec=parse_object(ModelProfile, built.manifest).spec, cluster=False, notes=built.notes)
