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

from plimsoll_estimator import InvalidInput
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.errors import ApiFailure
from plimsoll_operator.ports import CONFIG_MAPS, Kube
from plimsoll_operator.profiles.config_map import profile_from_config_map
from plimsoll_operator.profiles.source import SourceFailure
from plimsoll_operator.read_request import ConfigMapKey, ReadRequest
from plimsoll_operator.reasons import NoShape

_AGAIN_SECONDS: Final = 60.0
"""How long a ConfigMap that has been put right may go unnoticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMaps:
    """See the module. `now` is the wall clock."""

    kube: Kube
    now: Callable[[], datetime]

    def answers(self, request: ReadRequest) -> bool:
        """Keys of ConfigMaps."""
        return isinstance(request.source, ConfigMapKey)

    def fetch(self, request: ReadRequest, stop: threading.Event) -> Fetched | FetchFailure:
        """See Fetcher.fetch. One request."""
        source = request.source
        if not isinstance(source, ConfigMapKey):
            return FetchFailure(reason=NoShape.UNSUPPORTED, message="this is not a ConfigMap")
        where = f"ConfigMap {request.namespace}/{source.name}"
        try:
            found = self.kube.get(CONFIG_MAPS, request.namespace, source.name)
            if found is None:
                return FetchFailure(reason=NoShape.NOT_FOUND, message=f"there is no {where}", retry_within_seconds=_AGAIN_SECONDS)
            obtained_at = self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            profile, notes = profile_from_config_map(found.get("data") or {}, request, obtained_at)
        except ApiFailure as failure:
            return FetchFailure(reason=NoShape.UNREACHABLE, message=f"{where}: {failure}")
        except SourceFailure as failure:
            return FetchFailure(reason=failure.reason, message=failure.message, retry_within_seconds=_AGAIN_SECONDS)
        except InvalidInput as error:
            return FetchFailure(reason=NoShape.INVALID, message=str(error), retry_within_seconds=_AGAIN_SECONDS)
        return Fetched(spec=profile.spec, cluster=False, notes=notes)
