"""Credentials of one cluster: whoever has them belongs to it, and nobody else gets an answer."""

from __future__ import annotations

import datetime

from distributed.security import Security

NAME = "gandask"
LASTING = datetime.timedelta(days=3650)  # no run ends because its credentials do
EARLIER = datetime.timedelta(days=1)  # clocks of the machines may differ


def make() -> Security:
    """Make a key and a certificate for all roles of a cluster, in memory.

    A key on the curve P-256 is there at once; one of RSA, as `Security.temporary` makes it, takes
    some tenths of a second to find.

    Returns
    -------
    distributed.security.Security
        With which a scheduler, its workers and its clients talk to each other alone.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + LASTING)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate = signed.public_bytes(serialization.Encoding.PEM).decode()
    key = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    return secured(certificate, key)


def secured(certificate: str, key: str) -> Security:
    """Give the same certificate and key to all roles of a cluster.

    Parameters
    ----------
    certificate, key : str
        In PEM.
    """
    roles = ("client", "scheduler", "worker")
    both = {f"tls_{role}_cert": certificate for role in roles}
    both |= {f"tls_{role}_key": key for role in roles}
    return Security(tls_ca_file=certificate, require_encryption=True, **both)
