"""Certificates as values: an authority that signs one serving certificate and is then forgotten, and what PEM from outside holds.

Used by the webhook's certificate keeper and by `plimsoll doctor`. The only module that imports cryptography. Knows no API server; the
time is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SKEW: Final = timedelta(hours=1)
"""Clocks of nodes differ: valid since a little before it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """PEM of an authority's certificate, of the serving certificate that it signed, and of the latter's key. The other key is not kept."""

    authority: bytes
    certificate: bytes
    key: bytes

    def not_after(self) -> datetime:
        """Until when it can serve. Raises ValueError for what is no certificate."""
        return min(x509.load_pem_x509_certificate(pem).not_valid_after_utc for pem in (self.authority, self.certificate))

    def made_at(self) -> datetime:
        """When it was made. Raises ValueError for what is no certificate."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_before_utc + _SKEW

    def life(self) -> timedelta:
        """From when it was made until it ends."""
        return self.not_after() - self.made_at()

    def problem(self, names: Sequence[str], now: datetime) -> str:
        """Why the API server would not take it for these names now; empty where it would."""
        try:
            authority, leaf = (x509.load_pem_x509_certificate(pem) for pem in (self.authority, self.certificate))
            key = serialization.load_pem_private_key(self.key, password=None)
            leaf.verify_directly_issued_by(authority)
            alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
            return f"it cannot be used ({type(error).__name__})"
        if key.public_key() != leaf.public_key():
            return "the key is another certificate's"
        if not set(names) <= set(alternatives.get_values_for_type(x509.DNSName)):
            return "it is for other names"
        return "" if leaf.not_valid_before_utc <= now < self.not_after() else "it is not valid now"


def issue(names: Sequence[str], *, now: datetime, days: int) -> Material:
    """A new authority and a serving certificate for these names; of the authority only the certificate is left."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{names[0]} {now:%Y-%m-%d}"[:64])])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        )

    authority = (
        builder(issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]), key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Material(authority=_pem(authority), certificate=_pem(leaf), key=private)


def bundle(*parts: bytes, now: datetime, most: int) -> bytes:
    """The certificates of these PEM texts, each once and in their order, without what has ended; what is no certificate adds none."""
    found: dict[bytes, None] = {}
    for part in parts:
        for certificate in _certificates(part):
            if certificate.not_valid_after_utc > now:
                found.setdefault(_pem(certificate))
    return b"".join(list(found)[:most])


def holds(text: bytes, authority: bytes) -> bool:
    """Whether a bundle has this authority's certificate."""
    wanted = {_pem(one) for one in _certificates(authority)}
    return bool(wanted) and wanted <= {_pem(one) for one in _certificates(text)}


def life_of(text: bytes) -> tuple[datetime, datetime] | None:
    """From when until when the certificate of this PEM text that ends first is valid; None: it holds none."""
    lives = [(one.not_valid_before_utc, one.not_valid_after_utc) for one in _certificates(text)]
    return min(lives, key=lambda life: life[1], default=None)


def _certificates(text: bytes) -> Iterable[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        return ()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _usage(*, signs: bool) -> x509.KeyUsage:
    others = dict.fromkeys(("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_encipherment=not signs, key_cert_sign=signs, crl_sign=signs, **others)
