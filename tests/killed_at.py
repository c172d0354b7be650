"""`gandask`, which kills itself before its n-th operation on the files of a folder.

    python killed_at.py NUMBER FOLDER ARGUMENTS...

With the number 0 it lives, and counts them: ``FOLDER.operations`` has a line for each.
"""

import itertools
import os
import signal
import sys
import threading

WATCHED = {"open", "os.rename", "os.mkdir", "os.remove"}


def watch(number, folder):
    """Die at that number."""
    calls = itertools.count(1)
    seen = os.open(f"{folder}.operations", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def heard(event, arguments):
        path = str(arguments[0]) if event in WATCHED else ""
        beating = threading.current_thread().name == "gandask-heartbeat"
        if not path.startswith(f"{folder}/") or beating or ".zarr" in path or "heartbeat" in path:
            return
        os.write(seen, f"{event} {path}\n".encode())
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(heard)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])
    from gandask.__main__ import main

    main(sys.argv[3:])
