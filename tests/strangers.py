"""Who has no credentials of a cluster, and tries what there is to try."""

import asyncio
import ssl

from browser import LONGEST, apart
from distributed.comm import parse_address
from distributed.comm.registry import get_backend
from distributed.core import connect
from distributed.security import Security

# a stranger without credentials is refused by Dask's own client, others by the other side
REFUSED = (OSError, TypeError, ValueError)


class Careless(Security):
    """A stranger's credentials, or none, of one who does not mind whom he reaches."""

    def __init__(self, own=None):
        super().__init__()
        arguments = own.get_connection_args("client") if own else {}
        self.context = arguments.get("ssl_context") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def get_connection_args(self, role):
        return {"ssl_context": self.context, "require_encryption": False}


def strangers(address):
    """Give addresses and credentials that nobody gets in with."""
    plain = address.replace("tls://", "tcp://")
    other = Security.temporary()
    credentials = [None, other, Careless(), Careless(other)]
    return [(plain, None), *((address, security) for security in credentials)]


def reach(where, security):
    """Ask a scheduler, a worker or its nanny who it is; what does not answer has not refused."""
    try:
        return apart(asyncio.wait_for(_ask(where, security), LONGEST))
    except TimeoutError as error:
        raise AssertionError(f"{where} has neither answered nor refused") from error


async def _ask(where, security):
    arguments = security.get_connection_args("client") if security else {}
    scheme, location = parse_address(where)
    # once, since `connect` would try again and again until there is no time left
    once = await get_backend(scheme).get_connector().connect(location, **arguments)
    await once.close()
    comm = await connect(where, timeout=2 * LONGEST, **arguments)
    await comm.write({"op": "identity", "reply": True})
    told = await comm.read()
    await comm.close()
    return told
