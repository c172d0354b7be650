"""Credentials of processes that hold private data, and of those that ask them.

One authority signs both. Whose a certificate is says its name, and whether its owner may serve
and ask its extended key usage: what `gandask credentials` writes for a client only lets it dial
out, as itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import tempfile
from pathlib import Path

import platformdirs

from gandask.core import SettingError, certificates
from gandask.core.certificates import Certified
from gandask.core.files import DAMAGED, opened, others

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
AUTHORITY = "gandask clients"  # its name in certificates
SERVER = "gandask server"  # which no client can be called: it has a space
LARGEST = 1 << 16
"""Bytes of a file with credentials that is read."""
BEGIN = "-----BEGIN CERTIFICATE-----"


def authority() -> Certified:
    """Make an authority in memory, for clients that are started with it and end with it."""
    return certificates.authority(AUTHORITY)


def kept_authority(folder: Path | None = None) -> Certified:
    """Read the authority that a folder keeps, or make it there.

    Parameters
    ----------
    folder : Path, optional
        By default in the user's own data folder.

    Raises
    ------
    SettingError
        If others may read it, or it is damaged.
    OSError
        If it cannot be read or written.
    """
    folder = folder or platformdirs.user_data_path("gandask") / "authority"
    path = folder / "authority.pem"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was first
            _write(path, authority().pem)
    key, begin, certificate = read(path).partition(BEGIN)
    return Certified(begin + certificate, key)


def issue(by: Certified, name: str) -> str:
    """Make the credentials of a client.

    Parameters
    ----------
    by : Certified
        The authority.
    name : str
        The client's.

    Returns
    -------
    str
        Its key, its certificate and the authority's, in PEM.

    Raises
    ------
    SettingError
        If the name is none.
    """
    if not NAME.fullmatch(name):
        raise SettingError(
            f"client={name!r}: expected a name of 1 to 64 letters, digits, dots, underscores and "
            "hyphens, the first of them a letter or a digit"
        )
    return certificates.issued(by, name, serving=False).pem + by.certificate


def issue_server(by: Certified) -> str:
    """Make the credentials of the server's side, as `issue` does for a client."""
    return certificates.issued(by, SERVER, serving=True).pem + by.certificate


def write(pem: str, path: Path) -> None:
    """Write credentials to a new file that only its owner may read.

    Raises
    ------
    SettingError
        If there is such a file.
    OSError
        If it cannot be written.
    """
    try:
        _write(path, pem)
    except FileExistsError as error:
        raise SettingError(
            f"{path} is there already: delete it, or name another file by -o"
        ) from error


def read(path: Path) -> str:
    """Read credentials from a file.

    Raises
    ------
    SettingError
        If others may read or replace it, or if it holds none.
    OSError
        If it cannot be read.
    """
    with opened(path) as file:
        open_to = others(path.resolve(), os.fstat(file.fileno()))
        text = file.read(LARGEST).decode(errors="replace")
    if open_to:
        raise SettingError(f"{path}: {open_to}")
    name_in(text)
    return text


def name_in(pem: str) -> str:
    """Give the name that credentials are of.

    Raises
    ------
    SettingError
        If they are none.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        known = x509.load_pem_x509_certificates(pem.encode())[0].subject
        return str(known.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    except DAMAGED as error:
        raise _none() from error


def context(pem: str, serving: bool = False) -> ssl.SSLContext:
    """Make what secures connections: TLS 1.3, in which both ends show what one authority signed.

    Parameters
    ----------
    pem : str
        Credentials.
    serving : bool
        Whether it is for who is dialled.

    Raises
    ------
    SettingError
        If they are none.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if serving else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False  # who may serve says the authority, and not an address
    made.verify_mode = ssl.CERT_REQUIRED
    if serving:
        made.num_tickets = 0  # no session is resumed
    try:
        # ssl takes keys from files alone; this one only its owner may read
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(pem)
            file.flush()
            made.load_cert_chain(file.name, password="")  # or it would ask at the terminal
        made.load_verify_locations(cadata=BEGIN + pem.rpartition(BEGIN)[2])
    except (ssl.SSLError, ValueError) as error:
        raise _none() from error
    return made


def _none() -> SettingError:
    return SettingError("credentials: expected what `gandask credentials --for NAME` has written")


def _write(path: Path, text: str) -> None:
    """Write a file of its owner's that was not there, whole or not at all."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    finally:
        Path(partial).unlink()
