"""Credentials of one cluster: whoever has them belongs to it, and nobody else gets an answer."""

from __future__ import annotations

from distributed.security import Security

from gandask.core import certificates

NAME = "gandask"


def make() -> Security:
    """Make a key and a certificate for all roles of a cluster, in memory.

    Returns
    -------
    distributed.security.Security
        With which a scheduler, its workers and its clients talk to each other alone.
    """
    made = certificates.authority(NAME)
    return secured(made.certificate, made.key)


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
