"""Messages arrive as they were sent, or are refused: whatever bytes come in their place."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from gandask.clients import messages
from gandask.clients.messages import Message, MessageError, packed, unpacked

ARRAYS = {
    "of/0::weight": np.arange(6.0).reshape(2, 3),
    "float32": np.array([np.nan, np.inf, -0.0], np.float32),
    "float16": np.ones((1, 2, 2), np.float16),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "int32": np.array(7, np.int32),
    "int8": np.arange(-3, 3, dtype=np.int8)[::2],
    "uint8": np.zeros((0, 28, 28), np.uint8),
    "bool": np.array([True, False]),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">f4"),
    "": np.zeros(()),
}
VALUES = {"round": 2**70, "loss": 1e-300, "none": None, "names": ["ü", "\n"], "of": {"a": {}}}


def test_a_message_arrives_as_it_was_sent():
    frame = packed(Message("train_more", VALUES, ARRAYS))
    message = unpacked(frame)
    assert (message.name, message.values) == ("train_more", VALUES)
    assert message.arrays.keys() == ARRAYS.keys()
    for name, array in message.arrays.items():
        sent = ARRAYS[name]
        assert array.dtype == sent.dtype.newbyteorder("<") and array.shape == sent.shape
        assert array.tobytes() == sent.astype(array.dtype).tobytes()
        assert array.flags.owndata and array.flags.writeable
    assert len(packed(message)) == len(frame)
    assert not unpacked(packed(Message("probe"))).arrays


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message("Train"), "name"),
        (Message("a" * 33), "name"),
        (Message("probe\n"), "name"),
        (Message("probe", {"loss": float("nan")}), "values"),
        (Message("probe", {"of": (1, 2)}), "values"),
        (Message("probe", {1: 2}), "values"),
        (Message("probe", {"of": np.float32(1)}), "values"),
        (Message("probe", {"of": "\ud800"}), "values"),
        (Message("probe", {"of": "a" * messages.HEADER}), "header"),
        (Message("probe", {}, {"a": np.array([object()])}), "of type object"),
        (Message("probe", {}, {"a": np.array(["text"])}), "of type <U4"),
        (Message("probe", {}, {"a": np.ones(2, complex)}), "of type complex128"),
        (Message("probe", {}, {"__metadata__": np.ones(2)}), "called"),
        (Message("probe", {}, {"\ud800": np.ones(2)}), "cannot be written"),
        (Message("probe", {}, {str(n): np.ones(0) for n in range(10_001)}), "10001 arrays"),
    ],
)
def test_what_a_frame_cannot_hold_is_refused(message, said):
    with pytest.raises(MessageError, match=said):
        packed(message)


TOLD = {"name": "probe", "values": "{}"}


def frame(header, data=b""):
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + data


def with_array(data=bytes(8), told=TOLD, **changed):
    known = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed
    return frame({"__metadata__": told, "a": known}, data)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(1 << 20))
    return file.getvalue()


def test_a_frame_by_hand_is_one():
    assert unpacked(with_array()).arrays["a"].tolist() == [0, 0]


GOOD = packed(Message("probe", VALUES, ARRAYS))
HOSTILE = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "an empty header": bytes(8),
    "half": GOOD[: len(GOOD) // 2],
    "one byte less": GOOD[:-1],
    "one byte more": GOOD + b"\0",
    "a header of 2**64": b"\xff" * 8 + GOOD[8:],
    "a header beyond the frame": (1 << 19).to_bytes(8, "little") + GOOD[8:],
    "a large header": frame(json.dumps({"__metadata__": TOLD}).encode() + b" " * messages.HEADER),
    "a pickle": pickle.dumps(Message("probe")),
    "a zip file": zipped(),
    "a header that is a list": frame([TOLD]),
    "a header that is a number": frame(b"3"),
    "a header of another encoding": frame(json.dumps({"__metadata__": TOLD}).encode("utf-16")),
    "a header that is no UTF-8": frame(b'{"__metadata__": "\xff"}'),
    "a deep header": frame(b'{"a":' * 100_000),
    "a deep list": frame({"__metadata__": TOLD, "a": json.loads("[" * 200 + "]" * 200)}),
    "a safetensors file": safetensors.numpy.save({"a": np.ones(2)}),
    "more in the metadata": with_array(told=TOLD | {"more": ""}),
    "metadata that is a text": frame({"__metadata__": "probe"}),
    "a name that is a number": with_array(told=TOLD | {"name": 3}),
    "a name that is a path": with_array(told=TOLD | {"name": "../probe"}),
    "values that are none": with_array(told=TOLD | {"values": {}}),
    "values that are a list": with_array(told=TOLD | {"values": "[]"}),
    "NaN": with_array(told=TOLD | {"values": '{"a": NaN}'}),
    "a number too large": with_array(told=TOLD | {"values": '{"a": 1e999}'}),
    "a number too long": with_array(told=TOLD | {"values": '{"a": ' + "9" * 5000 + "}"}),
    "deep values": with_array(told=TOLD | {"values": '{"a":' * 200 + "1" + "}" * 200}),
    "values that end early": with_array(told=TOLD | {"values": '{"a": "'}),
    "half a surrogate pair": with_array(told=TOLD | {"values": '{"a": "\\ud800"}'}),
    "a value twice": with_array(told=TOLD | {"values": '{"a": 1, "a": 2}'}),
    "a message twice": frame(
        b'{"__metadata__":{"name":"a","values":"{}"},"__metadata__":{"name":"b","values":"{}"}}'
    ),
    "an array twice": frame(
        b'{"__metadata__":{"name":"a","values":"{}"},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        bytes(2),
    ),
    "many arrays": frame({"__metadata__": TOLD} | {str(n): {} for n in range(10_001)}),
    "an array that is none": frame({"__metadata__": TOLD, "a": None}),
    "a type that does not travel": with_array(dtype="BF16", shape=[4]),
    "an unknown type": with_array(dtype="object"),
    "a type that is a list": with_array(dtype=["F32"]),
    "offsets beyond the frame": with_array(data_offsets=[0, 800]),
    "offsets the wrong way round": with_array(data_offsets=[8, 0]),
    "negative offsets": with_array(data_offsets=[-8, 0]),
    "offsets in the header": with_array(data_offsets=[4, 12]),
    "a shape larger than its bytes": with_array(shape=[1 << 40]),
    "a shape that overflows": with_array(shape=[1 << 32, 1 << 32]),
    "a negative shape": with_array(shape=[-1, -2]),
    "an empty shape too large": with_array(b"", shape=[0, 1 << 62], data_offsets=[0, 0]),
    "65 dimensions": with_array(shape=[1] * 64 + [2]),
    "truth values of 2": with_array(dtype="BOOL", shape=[8], data=b"\2" * 8),
}


@pytest.mark.parametrize("bytes_", HOSTILE.values(), ids=HOSTILE)
def test_hostile_frames_are_refused_with_a_sentence(bytes_):
    with pytest.raises(MessageError, match=r"^(an?|array) .{10,}") as caught:
        unpacked(bytes_)
    assert len(str(caught.value)) < 300


def test_frames_are_bounded(monkeypatch):
    monkeypatch.setattr(messages, "MOST", len(GOOD) - 1)
    with pytest.raises(MessageError, match=f"{len(GOOD)} bytes: expected at most"):
        unpacked(GOOD)
    with pytest.raises(MessageError, match="bytes: expected at most"):
        packed(Message("probe", VALUES, ARRAYS))


def test_any_flipped_byte_gives_a_message_or_a_refusal():
    draws = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(GOOD)
        damaged[draws.integers(len(GOOD))] ^= 1 << int(draws.integers(8))
        try:
            assert isinstance(unpacked(bytes(damaged)), Message)
        except MessageError:
            continue
