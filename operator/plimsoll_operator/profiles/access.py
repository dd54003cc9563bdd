"""Which hub is read and as whom, judged before the hub's library is imported.

Used by the CLI and the controller, which differ in where the token comes from. The token is asked for at each request, as
a mounted Secret may be renewed, and is never part of a message.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from plimsoll_estimator import InvalidInput

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
ENDPOINT_VARIABLE: Final = "HF_ENDPOINT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """An endpoint without a slash at its end, and where its token comes from; None: as huggingface_hub finds it.

    `whose` is what messages call the token.
    """

    endpoint: str
    token: Callable[[], str | None] | None = None
    whose: str = "HF_TOKEN"


def endpoint_of(text: str, field: str) -> str:
    """The endpoint that a setting names. Raises InvalidInput, without the value: an URL may hold a password."""
    endpoint = text.rstrip("/")
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        sound = False
    if not sound:
        raise InvalidInput(field, "(not shown)", "must be an http or https URL without a user")
    return endpoint


def endpoint_from_environment() -> str:
    """HF_ENDPOINT or the public hub. Raises InvalidInput."""
    return endpoint_of(os.environ.get(ENDPOINT_VARIABLE, "") or DEFAULT_ENDPOINT, ENDPOINT_VARIABLE)
