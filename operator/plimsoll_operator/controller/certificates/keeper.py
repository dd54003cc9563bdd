"""One look after the other at the webhook's Secret and its registration, each of which brings them one step nearer to what they must be.

Called by the process every few seconds. Level-triggered: nothing is remembered but in the two objects, so a process that dies in between
leaves nothing that the next look does not go on from. In a renewal the API servers trust the new authority before anybody serves by it, and
the old one until nobody does. Raises ApiFailure. Knows no file and no port.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from plimsoll_operator.certificate import Material, bundle, holds, issue
from plimsoll_operator.names import SINCE_ANNOTATION
from plimsoll_operator.ports import SECRETS, VALIDATING_WEBHOOK_CONFIGURATIONS, Kube, Manifest

TRUSTED_FIRST: Final = timedelta(minutes=10)
"""How long an authority is trusted before a certificate of its is served: API servers hear of a registration within seconds."""
TRUSTED_AFTER: Final = timedelta(days=1)
"""And how long after: kubelets bring a Secret's files within two minutes, a pod that is stuck may take longer."""
_MOST_AUTHORITIES: Final = 4
_KEYS: Final = ("ca.crt", "tls.crt", "tls.key")
_NEXT: Final = "next-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is so after one look: a problem that somebody else must mend (empty: none), when what serves ends, and what was done."""

    problem: str = ""
    not_after: datetime | None = None
    done: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """See the module. `names` are the webhook's as the API server calls it, the first of all as its subject; `now` is the wall clock."""

    kube: Kube
    namespace: str
    secret: str
    registration: str
    names: Sequence[str]
    days: int
    now: Callable[[], datetime]

    def look(self) -> Look:
        """Look once, and do what is next."""
        secret = self.kube.get(SECRETS, self.namespace, self.secret)
        if secret is None:
            return Look(problem=f"Secret {self.namespace}/{self.secret} is not there: the chart makes it, empty")
        registration = self.kube.get(VALIDATING_WEBHOOK_CONFIGURATIONS, "", self.registration)
        if registration is None:
            return Look(problem=f"ValidatingWebhookConfiguration {self.registration} is not there: the chart makes it")
        now = self.now()
        serving, following = (self._good(_material(secret, prefix), now) for prefix in ("", _NEXT))
        if serving is None:
            made = following or issue(self.names, now=now, days=self.days)
            self._serve(secret, made, now)
            self._trust(registration, now, made, keep=True)
            return Look(not_after=made.not_after(), done="a new certificate is served")
        trusted = self._trust(registration, now, serving, following, keep=now - _since(secret, now) < TRUSTED_AFTER)
        done = "the registration trusts what is served" if trusted else ""
        if following is not None:
            if not trusted and now - following.made_at() >= TRUSTED_FIRST:
                self._serve(secret, following, now)
                return Look(not_after=following.not_after(), done="the next certificate is served")
        elif serving.not_after() - now < serving.life() / 3:
            self._write(secret, {_NEXT: issue(self.names, now=now, days=self.days)})
            done = "the next certificate is made"
        return Look(not_after=serving.not_after(), done=done)

    def _good(self, material: Material | None, now: datetime) -> Material | None:
        return material if material is not None and not material.problem(self.names, now) else None

    def _serve(self, secret: Manifest, material: Material, now: datetime) -> None:
        self._write(secret, {"": material, _NEXT: None}, since=now)

    def _write(self, secret: Manifest, parts: dict[str, Material | None], *, since: datetime | None = None) -> None:
        data: dict[str, str | None] = {}
        for prefix, material in parts.items():
            values = (material.authority, material.certificate, material.key) if material is not None else (None,) * 3
            kept = zip(_KEYS, values, strict=True)
            data |= {f"{prefix}{key}": base64.b64encode(value).decode() if value is not None else None for key, value in kept}
        metadata: dict[str, Any] = {"resourceVersion": secret["metadata"]["resourceVersion"]}
        if since is not None:
            metadata["annotations"] = {SINCE_ANNOTATION: since.isoformat()}
        self.kube.merge_patch(SECRETS, self.namespace, self.secret, {"metadata": metadata, "data": data})

    def _trust(self, registration: Manifest, now: datetime, *materials: Material | None, keep: bool) -> bool:
        """Bring the registration's bundles to these authorities, and with `keep` those that it trusts already. Whether it was written."""
        wanted = [one.authority for one in materials if one is not None]
        changed = False
        hooks: list[Manifest] = []
        for hook in registration.get("webhooks") or ():
            client = hook.get("clientConfig") or {}
            present = _decoded(client.get("caBundle"))
            stays = keep or any(not holds(present, one) for one in wanted)
            text = bundle(*wanted, *((present,) if stays else ()), now=now, most=_MOST_AUTHORITIES)
            changed |= text != present
            hooks.append({**hook, "clientConfig": {**client, "caBundle": base64.b64encode(text).decode()}})
        if changed:
            # A merge patch replaces the whole list: at the version that was read, so that nobody's change is undone.
            patch = {"metadata": {"resourceVersion": registration["metadata"]["resourceVersion"]}, "webhooks": hooks}
            self.kube.merge_patch(VALIDATING_WEBHOOK_CONFIGURATIONS, "", self.registration, patch)
        return changed


def _material(secret: Manifest, prefix: str) -> Material | None:
    authority, certificate, key = (_decoded((secret.get("data") or {}).get(prefix + name)) for name in _KEYS)
    return Material(authority=authority, certificate=certificate, key=key) if authority and certificate and key else None


def _decoded(text: object) -> bytes:
    """Base64 from the API server; empty for what is none."""
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _since(secret: Manifest, now: datetime) -> datetime:
    """Since when what serves is served; now where nobody says it, so that nothing is dropped too soon."""
    try:
        said = datetime.fromisoformat(str((secret["metadata"].get("annotations") or {}).get(SINCE_ANNOTATION, "")))
    except ValueError:
        return now
    return said if said.tzinfo is not None else now
