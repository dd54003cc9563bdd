"""The documents of YAML texts that we wrote or rendered ourselves, read by libyaml where it is there: ten times faster."""

from typing import Any, Final

import yaml

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def documents(text: str) -> list[Any]:
    """All of them, without the empty ones."""
    return [one for one in yaml.load_all(text, Loader=_LOADER) if one is not None]
