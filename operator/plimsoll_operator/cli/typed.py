"""Names that are typed on the command line, held to what Kubernetes takes. Used by the commands that ask for one; knows no cluster."""

from __future__ import annotations

import re

from plimsoll_estimator import InvalidInput
from plimsoll_operator.api.base import DNS_LABEL


def check_dns_label(option: str, text: str) -> None:
    """Raises InvalidInput where the text is no name of a namespace, or of what is called by one label alone."""
    if not re.fullmatch(DNS_LABEL, text):
        raise InvalidInput(option, text, "must be at most 63 characters of a-z, 0-9 and -")
