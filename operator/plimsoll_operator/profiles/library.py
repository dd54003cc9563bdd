"""The hub's library, imported only when a hub is read: it is an extra, and fails on import where HF_ENDPOINT is no URL.

Called by `plimsoll profile fetch`, the reader pod and the controller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll_estimator import EstimatorError
from plimsoll_operator.profiles.access import endpoint_from_environment

if TYPE_CHECKING:
    from plimsoll_operator.profiles.hub import Hub


class HubMissing(EstimatorError):
    """The hub's library is an extra that is not installed here."""


def hub_type() -> type[Hub]:
    """The hub client. Raises HubMissing where its library is not installed, InvalidInput where HF_ENDPOINT is no URL."""
    endpoint_from_environment()
    try:
        from plimsoll_operator.profiles.hub import Hub
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(("huggingface_hub", "httpx2")):
            raise
        raise HubMissing("reading a hub needs an extra: pip install 'plimsoll-operator[hub]'") from error
    return Hub
