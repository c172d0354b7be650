"""Keys and certificates: an authority of our own, and what it signs."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

LASTING = datetime.timedelta(days=3650)  # no run ends because its credentials do
EARLIER = datetime.timedelta(days=1)  # clocks of the machines may differ


@dataclass(frozen=True)
class Certified:
    """Hold a key and the certificate that says whose it is.

    Parameters
    ----------
    certificate, key : str
        In PEM.
    """

    certificate: str
    key: str = field(repr=False)

    @property
    def pem(self) -> str:
        """Both, as they are kept in one file."""
        return self.key + self.certificate


def authority(name: str) -> Certified:
    """Make a key and its own certificate, which may sign others.

    A key on the curve P-256 is there at once; one of RSA, as `distributed.Security.temporary`
    makes it, takes some tenths of a second to find.
    """
    return _signed(name, None, serving=True)


def issued(by: Certified, name: str, serving: bool) -> Certified:
    """Make a key, and a certificate that an authority has signed.

    Parameters
    ----------
    by : Certified
        The authority.
    name : str
        Whose it is.
    serving : bool
        Whether who has it may be dialled, too: whoever dials refuses a server without this.
    """
    return _signed(name, by, serving)


def spoken_for(certificate: bytes) -> tuple[str, bool]:
    """Give the name in a certificate that was verified, and whether it may serve.

    Parameters
    ----------
    certificate : bytes
        In DER, as a connection tells that of its other end.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    read = x509.load_der_x509_certificate(certificate)
    name = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    usage = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return str(name), ExtendedKeyUsageOID.SERVER_AUTH in usage


def _signed(name: str, by: Certified | None, serving: bool) -> Certified:
    """Make a key, and a certificate: its own, of one who may sign others, or one signed by them."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    subject = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = private
    if by is not None:
        issuer = x509.load_pem_x509_certificate(by.certificate.encode()).subject
        loaded = serialization.load_pem_private_key(by.key.encode(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError("the key of an authority: expected one on an elliptic curve")
        signer = loaded
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + LASTING)
    )
    constraints = x509.BasicConstraints(ca=by is None, path_length=0 if by is None else None)
    built = built.add_extension(constraints, critical=True)
    if by is not None:
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH][: 1 + serving]
        built = built.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    pem = serialization.Encoding.PEM
    key = private.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = built.sign(signer, hashes.SHA256()).public_bytes(pem)
    return Certified(certificate.decode(), key.decode())
