"""The sources that belong to a namespace, put together for the controller's main. Each is a module beside this one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from plimsoll_operator.controller.resolving.config_map import ConfigMaps
from plimsoll_operator.controller.resolving.fetcher import Fetcher
from plimsoll_operator.controller.resolving.reader_pod import ReaderSettings
from plimsoll_operator.controller.resolving.user_rights import UserRights
from plimsoll_operator.ports import Kube


def namespace_sources(kube: Kube, readers: ReaderSettings, *, now: Callable[[], datetime]) -> tuple[Fetcher, ...]:
    """ConfigMaps, volumes, and the hub with a user's token."""
    return (ConfigMaps(kube=kube, now=now), UserRights(kube=kube, settings=readers, now=now))
