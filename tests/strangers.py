"""Who has no credentials of a cluster, and tries what there is to try."""

import asyncio
import ssl
from concurrent.futures import ThreadPoolExecutor

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
    """Ask a scheduler, a worker or its nanny who it is."""
    # in a thread: tests of pages leave a loop running in this one, which is Playwright's
    with ThreadPoolExecutor() as thread:
        return thread.submit(asyncio.run, _ask(where, security)).result()


async def _ask(where, security):
    arguments = security.get_connection_args("client") if security else {}
    comm = await connect(where, timeout=3, **arguments)
    await comm.write({"op": "identity", "reply": True})
    told = await asyncio.wait_for(comm.read(), 3)
    await comm.close()
    return told
