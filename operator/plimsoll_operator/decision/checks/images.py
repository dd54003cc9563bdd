"""Container image references in their one form, and whether one lies under a prefix that a FitPolicy allows. Pure; runs in linear time.

Grammar and defaults: distribution/reference (docker.io and library/ where no registry is named; a registry has a dot, a port or a
capital, or is localhost). What does not follow the grammar lies under nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_HUB: Final = "docker.io"
_HUB_NAMES: Final = frozenset({"docker.io", "index.docker.io"})
_MAX_TAG: Final = 128
_LOWER: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_TAG: Final = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_.-")
_HOST: Final = _LOWER | frozenset(".-")
_PATH: Final = _LOWER | frozenset("._-")
_DIGEST: Final = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ:+.-_=")

NO_REFERENCE: Final = (
    "is no image reference: write registry/path:tag or registry/path@sha256:..., in lower case and without a name or a password in it, "
    "which go into a pull secret"
)
"""What is said behind the field of an image that does not follow the grammar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Registry, path, and the tag or digest where one is given."""

    registry: str
    path: tuple[str, ...]
    tag: str = ""
    digest: str = ""


def read_reference(text: str, *, prefix: bool = False) -> Reference | None:
    """The reference in its one form; None where it does not follow the grammar.

    A `prefix` may be a registry alone, and of one name without a registry it is a folder of docker.io: an official image has library/.
    """
    rest, at, digest = text.partition("@")
    if at and not _is_digest(digest):
        return None
    first, *inner = rest.split("/")
    if prefix and not inner and _is_host(first):
        return None if at else _of(first, (), "", "")
    if not inner or not _is_host(first):
        first, inner = _HUB, rest.split("/")
    inner[-1], colon, tag = inner[-1].partition(":")
    if colon and not (0 < len(tag) <= _MAX_TAG and set(tag) <= _TAG and tag[0] not in ".-"):
        return None
    if not prefix and len(inner) == 1 and first.lower() in _HUB_NAMES:
        inner = ["library", *inner]
    return _of(first, tuple(inner), tag, digest)


def _is_host(text: str) -> bool:
    """Told from a folder of docker.io as every container runtime does: no folder has capitals. A bare name with a tag has a colon too."""
    host, colon, port = text.partition(":")
    return host == "localhost" or "." in host or host != host.lower() or (bool(colon) and port.isdigit())


def _of(host: str, path: tuple[str, ...], tag: str, digest: str) -> Reference | None:
    name, colon, port = host.lower().partition(":")
    if not name or not set(name) <= _HOST or (colon and not port.isdigit()):
        return None
    if not all(part and set(part) <= _PATH and part[0] in _LOWER and part[-1] in _LOWER for part in path):
        return None
    return Reference(registry=_HUB if host.lower() in _HUB_NAMES else host.lower(), path=path, tag=tag, digest=digest)


def _is_digest(text: str) -> bool:
    algorithm, colon, value = text.partition(":")
    return bool(algorithm and colon and value) and set(text) <= _DIGEST


def is_allowed(image: str, prefixes: Iterable[str]) -> bool:
    """Whether the image lies under one of the prefixes: a registry, a folder, a repository, or one with its tag or digest.

    What a node pulls of a reference with tag and digest is the digest: a prefix with a tag allows no such image.
    """
    found = read_reference(image)
    return found is not None and any(_lies_under(found, prefix) for prefix in prefixes)


def _lies_under(image: Reference, text: str) -> bool:
    prefix = read_reference(text.rstrip("/"), prefix=True)
    if prefix is None or prefix.registry != image.registry:
        return False
    if prefix.digest:
        return (image.path, image.digest) == (prefix.path, prefix.digest)
    if prefix.tag:
        return (image.path, image.tag, image.digest) == (prefix.path, prefix.tag, "")
    return image.path[: len(prefix.path)] == prefix.path
