"""The cloud's own certificate authority: who is the server, who is which node (mutual TLS).

All keys are EC P-256, which the nodes' mbedTLS and chips bear. Certificates hold what RFC 5280 asks for and no more:
both ends' travel in every contact. Every certificate is valid from 2020-01-01 on: a board that does not know the time
yet still holds it against its clock.

    DIR/pki/ca.pem, ca.key          made once; every node carries this certificate
    DIR/pki/server.pem, server.key  made anew when the names change or the end comes near
    DIR/pki/lock                    held while any of them is made
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOT_BEFORE = datetime(2020, 1, 1, tzinfo=timezone.utc)
CA_DAYS = 40 * 365
NODE_DAYS = 20 * 365
SERVER_DAYS = 10 * 365
RENEW_DAYS = 365
"""`Authority.server` makes a certificate anew that ends sooner than this."""


@dataclass(frozen=True)
class Credentials:
    """What a node carries, all DER: the CA's certificate, its own, and its private key as PKCS #8."""

    ca: bytes
    certificate: bytes
    key: bytes

    def write(self, folder: Path) -> None:
        """Write them as `ca`, `cert` and `pkey` into `folder`, as they lie on a node's filesystem."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("ca", self.ca), ("cert", self.certificate), ("pkey", self.key)):
            replace_file(folder / name, content, 0o600 if name == "pkey" else 0o644)


class Authority:
    """The CA of one data folder."""

    def __init__(self, data: Path, now: datetime | None = None) -> None:
        """Open it, or make it on first use. `now` is the time from which validity is counted, the system's if None."""
        self.folder = data / "pki"
        self._now = now or datetime.now(timezone.utc)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.locked():
            self._certificate, self._key = self._open_ca()

    @property
    def certificate(self) -> Path:
        """Where the CA's certificate lies, PEM."""
        return self.folder / "ca.pem"

    def server(self, names: Iterable[str]) -> tuple[Path, Path]:
        """Return the paths (certificate, key) of the server's, PEM, good for exactly `names` (host names, addresses).

        What is there is kept unless it is for other names or another CA, or ends within RENEW_DAYS.
        """
        wanted = [_general_name(name) for name in sorted(set(names))]
        certificate, key = self.folder / "server.pem", self.folder / "server.key"
        with self.locked():
            if not (certificate.exists() and key.exists() and self._serves(certificate, key, wanted)):
                fresh = ec.generate_private_key(ec.SECP256R1())
                made = self._sign(
                    _subject("cloud"), fresh, SERVER_DAYS, ExtendedKeyUsageOID.SERVER_AUTH,
                    x509.SubjectAlternativeName(wanted),
                )  # fmt: skip
                replace_file(key, _pem(fresh), 0o600)
                replace_file(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)
        return certificate, key

    def node(self, name: str, generation: int = 0) -> Credentials:
        """Return a new key and certificate for a node, CN = `name`. The key is kept nowhere here."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(_subject(name, generation), key, NODE_DAYS, ExtendedKeyUsageOID.CLIENT_AUTH)
        der = serialization.Encoding.DER
        secret = key.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Credentials(self._certificate.public_bytes(der), made.public_bytes(der), secret)

    def holds(self, folder: Path, name: str, generation: int = 0) -> bool:
        """Tell whether what `Credentials.write` wrote into `folder` is still good for this node."""
        try:
            ca, certificate, key = ((folder / file).read_bytes() for file in ("ca", "cert", "pkey"))
            found = x509.load_der_x509_certificate(certificate)
            secret = serialization.load_der_private_key(key, None)
        except (FileNotFoundError, ValueError):
            return False
        ours = ca == self._certificate.public_bytes(serialization.Encoding.DER)
        return ours and found.subject == _subject(name, generation) and self._good(found, secret)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold what keeps every other process from making a certificate meanwhile."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _open_ca(self) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
        path = self.folder / "ca.key"
        if path.exists() and self.certificate.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            if not isinstance(key, EllipticCurvePrivateKey):
                raise ValueError(f"{path}: not an EC key")
            return x509.load_pem_x509_certificate(self.certificate.read_bytes()), key
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject("fieldnode CA")
        made = (
            self._builder(name, name, key, CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        replace_file(path, _pem(key), 0o600)
        replace_file(self.certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)
        return made, key

    def _serves(self, path: Path, key: Path, wanted: list[x509.GeneralName]) -> bool:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        # Whoever is killed between the two leaves the key of one and the certificate of another.
        secret = serialization.load_pem_private_key(key.read_bytes(), None)
        return list(names) == wanted and self._good(found, secret)

    def _good(self, found: x509.Certificate, secret: PrivateKeyTypes) -> bool:
        """Tell whether a certificate is ours, belongs to the key `secret` and does not end within RENEW_DAYS."""
        try:
            found.verify_directly_issued_by(self._certificate)
        except (ValueError, InvalidSignature):
            return False
        lasts = found.not_valid_after_utc - self._now > timedelta(days=RENEW_DAYS)
        return lasts and found.public_key() == secret.public_key()

    def _sign(
        self,
        subject: x509.Name,
        key: EllipticCurvePrivateKey,
        days: int,
        purpose: x509.ObjectIdentifier,
        *extensions: x509.ExtensionType,
    ) -> x509.Certificate:
        builder = (
            self._builder(subject, self._certificate.subject, key, days)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(secrets.randbits(64) | 1)
            .not_valid_before(NOT_BEFORE)
            .not_valid_after(self._now.replace(microsecond=0) + timedelta(days=days))
        )


def user_of(node: str, generation: int = 0) -> str:
    """Return the name under which the broker knows the bearer of a node's certificate: its subject (RFC 2253).

    A node that is admitted again after its certificates were revoked is of another generation, and so another user.
    """
    return f"CN={node},OU={generation}" if generation else f"CN={node}"


def server_names(data: Path) -> set[str]:
    """Return the names in the present server certificate of the folder `data`; empty if there is none."""
    path = data / "pki" / "server.pem"
    if not path.exists():
        return set()
    found = x509.load_pem_x509_certificate(path.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def _subject(name: str, generation: int = 0) -> x509.Name:
    unit = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(generation))] if generation else []
    return x509.Name([*unit, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(**given: bool) -> x509.KeyUsage:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    every += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: given.get(name, False) for name in every})


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file whole: no reader and no kill finds half of it, nor a key that anybody may read."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    partial.replace(path)
