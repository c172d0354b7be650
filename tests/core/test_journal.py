"""Files that survive a crash: lines that are there whole or not at all, and exact arrays."""

import contextlib
import errno
import json
import os
import resource
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gandask.core import StoreError, journal
from gandask.core.files import write_whole
from gandask.core.journal import Bookmark, Journal


@pytest.fixture
def log(tmp_path):
    made = Journal(tmp_path / "log.jsonl")
    made.path.touch()
    return made


def plain(line):
    return line


def numbers(log):
    return [*log.read(lambda line: line["number"])]


def exact(value):
    """Give a form in which equal means equal to the last bit, whatever the type."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return type(value), repr(value)


# ---- what comes back

ARRAYS = {
    **{
        dtype: np.array([[0, 1, 2], [3, 4, 250]]).astype(dtype)
        for dtype in ("f2", "f4", "f8", ">f8", "i1", "i8", "u1", "u8", "?", "c16", "U5", "S3")
    },
    "time": np.array(["2026-01-01", "NaT"], "M8[s]"),
    "duration": np.array([1, -1], "m8[us]"),
    "not_a_number": np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324]),
    "extremes": np.array([-(2**63), 2**63 - 1]),
    "scalar": np.array(0.1, "f4"),
    "text": np.array("µ::\n"),
    "empty": np.zeros((0, 3), "f4"),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(10)[::-3],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_exactly(log, name):
    log.append({"nested": {"deeper": [ARRAYS[name]]}})
    (line,) = log.read(plain)
    assert exact(line["nested"]["deeper"][0]) == exact(ARRAYS[name])


def test_plain_values_come_back_exactly(log):
    values = {
        "text": 'ü "quoted"\n\u2028\\',
        "infinite": float("-inf"),
        "tenth": 0.1,
        "tiny": 5e-324,
        "large": 2**70,
        "yes": True,
        "nothing": None,
        "list": [1, 2.5, "three"],
        "almost an array": {"dtype": "<f8", "shape": [1]},
    }
    log.append(values)
    log.append({})
    assert [repr(line) for line in log.read(plain)] == [repr(values), "{}"]
    assert log.path.read_bytes().count(b"\n") == 2


def test_numpy_scalars_come_back_as_their_value(log):
    log.append({"f": np.float32(0.1), "i": np.int64(7), "b": np.bool_(True), "s": np.str_("x")})
    (line,) = log.read(plain)
    assert line == {"f": float(np.float32(0.1)), "i": 7, "b": True, "s": "x"}
    assert [type(value) for value in line.values()] == [float, int, bool, str]


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}]),
        np.array(["text"], object),
        np.zeros(2, "i4, f8"),
        np.zeros(2, "V8"),
        object(),
        {1, 2},
        b"bytes",
    ],
)
def test_what_is_neither_numbers_nor_text_never_enters(log, value):
    log.append({"number": 0})
    before = log.path.read_bytes()
    with pytest.raises(StoreError, match="expected numbers or text"):
        log.append({"value": value})
    assert log.path.read_bytes() == before


# ---- whole or not at all


@contextlib.contextmanager
def room(file, count):
    """Let no file grow beyond what this one will be with `count` more bytes: a disk that fills."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("count", "length"),
    [
        (0, 100),
        (1, 100),
        (50, 100),
        (0, 20_000),
        (50, 20_000),
        (9000, 20_000),
    ],
)
def test_a_line_that_does_not_fit_leaves_nothing(log, count, length):
    log.append({"number": 0})
    before = log.path.read_bytes()
    with room(log.path, count), pytest.raises(OSError, match="too large"):
        log.append({"number": 1, "text": "x" * length})
    assert log.path.read_bytes() == before
    log.append({"number": 2})
    assert numbers(log) == [0, 2]


def test_a_line_that_is_not_on_disk_is_not_there(log, monkeypatch):
    log.append({"number": 0})
    before = log.path.read_bytes()

    def full(_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="quota"):
            log.append({"number": 1})
    assert log.path.read_bytes() == before


def test_a_line_is_on_disk_before_append_returns(log, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    log.append({"number": 0})
    log.append({"number": 1})
    assert synced == [log.size // 2, log.size]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "facts.json"
    write_whole(path, "first")

    def crash(*_):
        raise OSError("power cut")

    for owner, name in ((os, "fsync"), (Path, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, crash)
            with pytest.raises(OSError, match="power cut"):
                write_whole(path, "second, and longer")
        assert path.read_text() == "first"
    write_whole(path, "third")
    assert path.read_text() == "third"
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_is_on_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    order, replace = [], Path.replace

    def fsync(handle):
        told = os.fstat(handle)
        order.append("folder" if stat.S_ISDIR(told.st_mode) else told.st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(
        Path, "replace", lambda one, other: order.append("replace") or replace(one, other)
    )
    write_whole(tmp_path / "facts.json", "twelve bytes")
    assert order == [12, "replace", "folder"]


@pytest.mark.parametrize(("number", "durable"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_that_cannot_make_a_folder_durable_is_no_harm(
    tmp_path, monkeypatch, number, durable
):
    fsync = os.fsync

    def failing(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with (
        contextlib.nullcontext() if durable else pytest.raises(OSError, match="Input/output error")
    ):
        write_whole(tmp_path / "facts.json", "text")
    assert (tmp_path / "facts.json").read_text() == "text"


# ---- reading


def test_a_line_being_written_is_left_out(log):
    for number in range(3):
        log.append({"number": number, "array": np.arange(3)})
    whole = log.path.read_bytes()
    last = whole.splitlines(keepends=True)[2]
    for cut in range(len(last)):
        log.path.write_bytes(whole[: len(whole) - len(last) + cut])
        assert numbers(log) == [0, 1]
    log.path.write_bytes(whole)
    assert numbers(log) == [0, 1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"",
        b"[]",
        b"3",
        b"\xff\xfe\x80",
        b"{}",
        b'{"number": "three"}',
        b'{"dtype": "<f8", "shape": [2], "base64": "AAAA"}',
        b'{"dtype": "<f8", "shape": [1], "base64": "?"}',
        b'{"dtype": "nonsense", "shape": [0], "base64": ""}',
        b'{"dtype": "|O", "shape": [1], "base64": "AAAAAAAAAAA="}',
    ],
)
def test_a_damaged_line_is_named(log, damage):
    for number in range(3):
        log.append({"number": number})
    lines = log.path.read_bytes().splitlines()
    log.path.write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
    read = log.read(lambda line: int(line["number"]))
    assert next(read) == 0
    with pytest.raises(StoreError, match=r"log\.jsonl, line 2 is damaged"):
        next(read)


def test_a_journal_that_is_gone_is_told(log):
    log.path.unlink()
    for look in (
        lambda: log.size,
        lambda: [*log.read(plain)],
        lambda: log.truncate(0),
        log.mend,
    ):
        with pytest.raises(StoreError, match=r"log\.jsonl cannot be read: .*No such file"):
            look()
    assert not log.path.exists()


def test_a_bookmark_before_the_beginning_is_refused(log):
    with pytest.raises(StoreError, match=r"log\.jsonl cannot be read: it has no byte -1"):
        [*log.read(plain, Bookmark(0, -1))]
    assert not log.goes_on(Bookmark(0, -1))


def test_what_is_large_is_read_piece_by_piece(log):
    """As where a stranger's file says that it has more bytes than there is memory."""
    with log.path.open("wb") as file:
        file.truncate(1 << 28)
    tracemalloc.start()
    try:
        assert log.end().byte == 0
        log.mend()
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert log.size == 0


# ---- cutting


def test_size_is_what_was_written(log):
    assert log.size == 0
    log.append({"number": 0})
    assert log.size == len(log.path.read_bytes()) > 0


def test_cutting_gives_the_whole_lines_that_were_cut(log):
    sizes = [log.size]
    for number in range(4):
        log.append({"number": number})
        sizes.append(log.size)
    with log.path.open("ab") as file:
        file.write(b'{"number": 4')
    assert [json.loads(line)["number"] for line in log.truncate(sizes[2])] == [2, 3]
    assert log.size == sizes[2]
    assert numbers(log) == [0, 1]
    assert log.truncate(sizes[2]) == []
    assert [json.loads(line)["number"] for line in log.truncate(0)] == [0, 1]
    assert log.path.read_bytes() == b""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b'{"numb', b""),
        (b'{"number": 0}\n', b'{"number": 0}\n'),
        (b'{"number": 0}\n{"number": 1', b'{"number": 0}\n'),
        (b'{"number": 0}\n{"number": 1}\n\xff', b'{"number": 0}\n{"number": 1}\n'),
    ],
)
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_mending_cuts_off_what_is_not_whole(log, before, after, block, monkeypatch):
    monkeypatch.setattr(journal, "BLOCK", block)
    log.path.write_bytes(before)
    assert (log.end().byte, log.end().line) == (len(after), after.count(b"\n"))
    log.mend()
    assert log.path.read_bytes() == after
    log.append({"number": 7})
    assert numbers(log) == [*range(after.count(b"\n")), 7]
