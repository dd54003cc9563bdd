"""Shapes in ConfigMaps that lie among the files: the ModelProfile that the controller would make, for `plan` and `render`.

A ConfigMap given goes before what an earlier reading of it has left in the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.world import World
from plimsoll_operator.profiles.config_map import profile_from_config_map
from plimsoll_operator.read_request import ConfigMapKey, ReadRequest, read_request_of


def read_config_maps(world: World) -> None:
    """Add a profile for each deployment whose ConfigMap was given. Raises InvalidInput and SourceFailure naming the ConfigMap."""
    requests = {read_request_of(item.metadata.namespace or "default", item.spec.model) for item in world.deployments}
    for request in sorted((one for one in requests if one is not None), key=lambda one: (one.namespace, one.profile_name)):
        data = _data(world.config_maps, request)
        if data is not None:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            fresh, _ = profile_from_config_map(data, request, now)
            same = (fresh.metadata.namespace, fresh.spec.model, fresh.spec.origin)
            world.profiles[:] = [
                row for row in world.profiles if (row.metadata.namespace or "default", row.spec.model, row.spec.origin) != same
            ]
            world.profiles.append(fresh)


def _data(config_maps: Mapping[tuple[str, str], Manifest], request: ReadRequest) -> Mapping[str, Any] | None:
    if not isinstance(request.source, ConfigMapKey):
        return None
    found = config_maps.get((request.namespace, request.source.name))
    if found is None:
        return None
    data = found.get("data")
    return data if isinstance(data, Mapping) else {}
