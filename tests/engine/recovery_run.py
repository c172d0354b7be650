"""Runs for test_recovery.py to lose: each line on standard input is a list of runs to fork.

All runs of a line go at once, each in a process of its own that may kill itself at a point in its
own progress. When all have ended the answer is a line with their exit statuses. To fork is to
import torch once only, so that a killed run costs a second.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import gandask as gd
from gandask import config, store
from gandask.core import files, journal
from gandask.engine import run as engine
from gandask.methods import METHODS
from gandask.methods.testing import Toy
from gandask.store import checkpoint, description, folder

METHODS[Toy.name] = Toy

REFUSED = 3  # exit status of a run that ended in StoreError


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # another thread may be the one that dies of it


def counted(number):
    """Give a function that is true when it is called for the n-th time."""
    calls = itertools.count(1)
    return lambda: next(calls) == number


def half(path, text):
    """Write half of a text, as a process does that is killed while it writes."""
    data = text.encode()
    with Path(path).open("ab") as file:
        file.write(data[: len(data) // 2])


# ---- points at which a run kills itself, each with the number of times it lets it pass


WATCHED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}


def at_operation(number, folder):
    """Before the n-th time that Python opens, renames or removes something in the store.

    The file ``<store>.operations`` tells how many there were. Two things are left out: whatever the
    heartbeat does, since it is the machine that decides how often it beats, and the Dataset, which
    would be most of them.
    """
    due = counted(number)
    seen = os.open(f"{folder}.operations", os.O_CREAT | os.O_WRONLY)

    def heard(event, arguments):
        path = str(arguments[0]) if event in WATCHED else ""
        # rmtree removes by name in an open folder
        inside = path.startswith(f"{folder}/") or (event == "os.remove" and arguments[1] != -1)
        if not inside or threading.current_thread().name == "gandask-heartbeat":
            return
        if "heartbeat" not in path and ".zarr" not in path:
            os.write(seen, f"{event} {path}\n".encode())
            if due():
                die()

    sys.addaudithook(heard)


def after_state_file(number, folder):
    """After the n-th state file of a checkpoint is whole."""
    save, due = checkpoint.save_states, counted(number)

    def save_states(*states, **arguments):
        saved = save(*states, **arguments)
        if due():
            die()
        return saved

    checkpoint.save_states = save_states


def in_state_file(number, folder):
    """While the n-th state file is being written: half of it is there."""
    sync, due = checkpoint.sync, counted(number)

    def torn(path):
        if due():
            os.truncate(path, path.stat().st_size // 2)
            die()
        sync(path)

    checkpoint.sync = torn


def in_whole_file(name, number):
    """While a file that is replaced whole is being written, for the n-th time."""
    write, due = files.write_whole, counted(number)

    def write_whole(path, text):
        if path.name == name and due():
            half(path.with_name(f"{path.name}.torn.partial"), text)
            die()
        write(path, text)

    for module in (checkpoint, description, folder):
        module.write_whole = write_whole


def around_replace(matches, number, after):
    """Right before or after a file or folder takes its place, for the n-th time."""
    replace, due = Path.replace, counted(number)

    def torn(self, target):
        hit = matches(self, Path(target)) and due()
        if hit and not after:
            die()
        made = replace(self, target)
        if hit:
            die()
        return made

    Path.replace = torn


def sealed(one, other):
    return one.name.startswith("partial-") and other.name.startswith("round-")


def in_line(name, number):
    """In the middle of appending a line."""
    append, due = journal.Journal.append, counted(number)

    def torn(self, line, **options):
        if self.path.name == name and due():
            half(self.path, json.dumps(line, default=journal.encoded) + "\n")
            die()
        append(self, line, **options)

    journal.Journal.append = torn


def in_dataset(number, folder):
    """When half of the Dataset's files are written."""
    due = counted(number)

    def heard(event, arguments):
        if event == "open" and "dataset.zarr.partial" in str(arguments[0]) and due():
            die()

    sys.addaudithook(heard)


POINTS = {
    "operation": at_operation,
    "after state file": after_state_file,
    "in state file": in_state_file,
    "in checkpoint.json": lambda n, folder: in_whole_file("checkpoint.json", n),
    "in run.json": lambda n, folder: in_whole_file("run.json", n),
    "before sealing": lambda n, folder: around_replace(sealed, n, after=False),
    "after sealing": lambda n, folder: around_replace(sealed, n, after=True),
    "between the renames": lambda n, folder: around_replace(
        lambda one, other: other.name.startswith("replaced-"), n, after=True
    ),
    "in reports.jsonl": lambda n, folder: in_line("reports.jsonl", n),
    "in events.jsonl": lambda n, folder: in_line("events.jsonl", n),
    "in steps.jsonl": lambda n, folder: in_line("steps.jsonl", n),
    "in dataset": in_dataset,
    "before the dataset": lambda n, folder: around_replace(
        lambda one, other: other.name == "dataset.zarr", n, after=False
    ),
    "after the dataset": lambda n, folder: around_replace(
        lambda one, other: other.name == "dataset.zarr", n, after=True
    ),
}


# ---- points at which a run waits for a file, and tells by another that it does


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.01)


def hold(owner, name, number, folder, label, before):
    """Wait at the n-th call of a method for the file ``<store>.go``, before or after it."""
    original, due = getattr(owner, name), counted(number)

    @functools.wraps(original)
    def held(self, *arguments, **options):
        mine = due()
        if mine and before:
            Path(f"{folder}.{label}").touch()
            wait_for(f"{folder}.go")
        made = original(self, *arguments, **options)
        if mine and not before:
            Path(f"{folder}.{label}").touch()
            wait_for(f"{folder}.go")
        return made

    setattr(owner, name, held)


HOLDS = {
    "working": (store.Store, "append", 2, True),
    "claimed": (store.Store, "claim", 1, False),
}


def run(asked):
    """Perform one run; end the process with its outcome."""
    folder = asked["store"]
    if "point" in asked:
        POINTS[asked["point"]](asked.get("number", 1), folder)
    if "hold" in asked:
        owner, name, number, before = HOLDS[asked["hold"]]
        hold(owner, name, number, folder, asked["label"], before)
    os.environ |= asked.get("environ", {})
    client = None
    try:
        if asked.get("workers"):
            client = gd.cluster.local(asked["workers"])
        engine.run(
            config.from_toml(asked["settings"], METHODS),
            store=folder,
            client=client,
            checkpoint_every=asked["checkpoint_every"],
            resume=asked.get("resume", False),
        )
    except gd.StoreError as error:
        Path(f"{folder}.{asked.get('label')}.refused").write_text(str(error))
        return REFUSED
    finally:
        if client:
            client.close()
    return 0


def fork(asked):
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        status = run(asked)
    finally:
        sys.stderr.flush()
        os._exit(status)


def main():
    assert threading.active_count() == 1, "only a process of one thread can be forked"
    for line in sys.stdin:
        processes = [fork(asked) for asked in json.loads(line)]
        print(json.dumps(processes), flush=True)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in processes]
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
