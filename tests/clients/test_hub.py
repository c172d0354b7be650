"""Clients dial in, are asked through the hub, and come back: whoever else knocks is refused."""

import contextlib
import logging.handlers
import pickle
import queue
import socket
import ssl
import threading
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gandask.clients import asking, connecting, credentials, dialling
from gandask.clients.asking import ByHub, Directly
from gandask.clients.hub import Hub
from gandask.clients.messages import Message, MessageError, RefusedError, packed, unpacked
from gandask.core import ClusterError

AUTHORITY = credentials.authority()
ASKER = credentials.issue_server(AUTHORITY)
PEM = {name: credentials.issue(AUTHORITY, name) for name in ("hospital", "clinic", "stranger")}
HERE = ("127.0.0.1", 0)
SOON = 5.0  # seconds in which what must happen has happened


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(dialling, "SHORTEST", 0.01)
    monkeypatch.setattr(asking, "SHORTEST", 0.01)
    monkeypatch.setattr(dialling, "TICK", 0.02)


class Told(queue.Queue):
    """What a hub tells, in order."""

    def __call__(self, kind, client, detail):
        self.put((kind, client))

    def next(self):
        return self.get(timeout=SOON)


def doubled(message):
    if message.name != "double":
        raise RefusedError("unknown", f"no request called {message.name}")
    return Message("doubled", message.values, {k: 2 * v for k, v in message.arrays.items()})


@contextlib.contextmanager
def hub(told=None, address=HERE, authority=AUTHORITY):
    with Hub(address, authority, ["hospital", "clinic"], told or Told()) as opened:
        yield opened


@contextlib.contextmanager
def client(address, pem=PEM["hospital"], answer=doubled, say=lambda text: None):
    stop = threading.Event()
    thread = threading.Thread(target=dialling.serve, args=(address, pem, answer, say, stop))
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(SOON)
        assert not thread.is_alive()


def raw(address, path=connecting.CLIENT, pem=PEM["hospital"]):
    """Connect as who could send anything."""
    uri, secured = f"wss://{address[0]}:{address[1]}{path}", credentials.context(pem)
    return connect(uri, ssl=secured, proxy=None, compression=None)


def ask(address, **changed):
    return ByHub(*address, pem=ASKER, **{"patience": SOON} | changed)


def in_background(function, *arguments):
    """Call in a thread; give what gives the result, or raises."""
    results = queue.Queue()

    def call():
        try:
            results.put((function(*arguments), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=call, daemon=True).start()

    def result():
        found, error = results.get(timeout=SOON)
        if error is not None:
            raise error
        return found

    return result


BATCH = Message("double", {"round": 3}, {"fakes": np.arange(4.0)})


def assert_doubled(answer):
    assert (answer.name, answer.values) == ("doubled", {"round": 3})
    assert answer.arrays["fakes"].tolist() == [0, 2, 4, 6]


def test_a_client_is_asked_directly_and_through_the_hub_alike():
    told = Told()
    with hub(told) as opened, client(opened.address):
        through = pickle.loads(pickle.dumps(ask(opened.address)))
        for asked in (Directly({"hospital": doubled}), through):
            assert_doubled(asked("hospital", BATCH))
            unknown = asked("hospital", Message("path"))
            assert (unknown.name, unknown.values) == ("refused", {"why": "unknown"})
            with pytest.raises(
                ClusterError, match="no client called 'elsewhere' is expected: name"
            ):
                asked("elsewhere", BATCH)
            with pytest.raises(MessageError):
                asked("hospital", Message("double", {"loss": float("nan")}))
            assert_doubled(asked("hospital", BATCH))
        assert ASKER not in repr(through)
    assert {told.next(), told.next()} >= {("joined", "hospital")}


def test_a_large_frame_goes_through_in_pieces():
    with hub() as opened, client(opened.address):
        sent = np.random.default_rng(1).random(300_000)
        answer = ask(opened.address)("hospital", Message("double", {}, {"a": sent}))
    assert (answer.arrays["a"] == 2 * sent).all()


def test_a_client_that_is_not_there_is_waited_for_and_told_once():
    told = Told()
    with hub(told) as opened:
        answers = [in_background(ask(opened.address), "clinic", BATCH) for _ in range(2)]
        assert told.next() == ("waiting", "clinic")
        time.sleep(0.1)
        assert told.empty()
        with client(opened.address, PEM["clinic"]):
            for answer in answers:
                assert_doubled(answer())
        assert [told.next(), told.next()] == [("joined", "clinic"), ("left", "clinic")]


def test_a_client_that_is_not_ready_is_told_of():
    told = Told()
    with hub(told) as opened:
        ask(opened.address).waits("clinic")
        with pytest.raises(ClusterError, match="no client called 'elsewhere' is expected"):
            ask(opened.address).waits("elsewhere")
        assert told.next() == ("waiting", "clinic")
        assert told.empty()
    Directly({}, lambda *heard: told.put(heard[:2])).waits("clinic")
    assert told.next() == ("waiting", "clinic")


def test_who_has_gone_is_asked_for_no_more():
    told = Told()
    with hub(told) as opened:
        with raw(opened.address, connecting.ASKER, ASKER) as asker:
            asker.send("hospital")
            asker.send(packed(BATCH))
            assert told.next() == ("waiting", "hospital")
        with raw(opened.address) as connection, pytest.raises(TimeoutError):
            connection.recv(0.1)


def test_four_ask_at_once_and_a_client_is_asked_one_at_a_time():
    busy = threading.Lock()

    def alone(message):
        assert busy.acquire(blocking=False)
        time.sleep(0.02)
        busy.release()
        return doubled(message)

    with (
        hub() as opened,
        client(opened.address, answer=alone),
        client(opened.address, PEM["clinic"]),
    ):
        names = ["hospital", "clinic", "hospital", "hospital"]
        answers = [in_background(ask(opened.address), name, BATCH) for name in names]
        for answer in answers:
            assert_doubled(answer())


def test_a_client_that_is_lost_before_it_answers_is_asked_again():
    told = Told()
    with hub(told) as opened, raw(opened.address, connecting.ASKER, ASKER) as asker:
        with raw(opened.address) as lost:
            asker.send("hospital")
            asker.send(packed(BATCH))
            assert unpacked(lost.recv(SOON)).name == "double"
            lost.socket.shutdown(socket.SHUT_RDWR)  # no farewell, as when its process is killed
        with client(opened.address):
            assert_doubled(unpacked(asker.recv(SOON)))
    seen = [told.next() for _ in range(4)]
    assert seen[:2] == [("joined", "hospital"), ("left", "hospital")]
    assert ("joined", "hospital") in seen[2:]


def test_a_second_connection_replaces_the_first():
    told = Told()
    with hub(told) as opened, raw(opened.address) as first:
        assert told.next() == ("joined", "hospital")
        answer = in_background(ask(opened.address), "hospital", BATCH)
        first.recv(SOON)
        with client(opened.address):
            assert_doubled(answer())
            with pytest.raises(ConnectionClosed, match="another connection"):
                first.recv(SOON)
            assert [told.next(), told.next()] == [("left", "hospital"), ("joined", "hospital")]


def test_a_hub_that_comes_back_is_dialled_again_by_both():
    told, asked_once = Told(), threading.Event()

    def slow(message):
        asked_once.set()
        time.sleep(0.1)
        return doubled(message)

    with hub() as opened:
        address = opened.address
        serving = client(address, answer=slow)
        serving.__enter__()
        assert_doubled(ask(address)("hospital", BATCH))
        asked_once.clear()
        answer = in_background(ask(address), "hospital", BATCH)
        assert asked_once.wait(SOON)
    with hub(told, address):  # the request went with the first
        assert_doubled(answer())
        assert ("joined", "hospital") in told.queue
        serving.__exit__(None, None, None)


def test_a_hub_ends_at_once_whatever_is_under_way():
    with hub() as opened, raw(opened.address) as connection:
        asked = ask(opened.address, patience=0.0)
        answers = [in_background(asked, name, BATCH) for name in ("hospital", "clinic")]
        connection.recv(SOON)
        begun = time.monotonic()
    assert time.monotonic() - begun < 2
    for answer in answers:
        with pytest.raises(ClusterError, match="was not reached"):
            answer()


def test_a_hub_that_cannot_listen_says_so():
    with hub() as opened, pytest.raises(ClusterError, match="give another host or port"):
        Hub(opened.address, AUTHORITY, [], Told()).__enter__()


def test_a_hub_that_stays_away_is_given_up():
    with hub() as opened:
        gone = ask(opened.address, patience=0.05)
    with pytest.raises(ClusterError, match=r"was not reached for .* resume the run"):
        gone("hospital", BATCH)


# ---- who has no business there


OTHER = credentials.authority()
REFUSED = {
    "of another authority": (credentials.issue(OTHER, "hospital"), connecting.CLIENT),
    "of another authority, asking": (credentials.issue_server(OTHER), connecting.ASKER),
    "of no client's name": (PEM["stranger"], connecting.CLIENT),
    "a client that asks": (PEM["hospital"], connecting.ASKER),
    "an asker that would be a client": (ASKER, connecting.CLIENT),
    "another path": (ASKER, "/../ask"),
}


@pytest.mark.parametrize(("pem", "path"), REFUSED.values(), ids=REFUSED)
def test_strangers_are_refused(pem, path):
    told = Told()
    with hub(told) as opened:
        with pytest.raises(connecting.BROKEN), raw(opened.address, path, pem) as connection:
            connection.recv(SOON)
        assert told.empty()
        with client(opened.address):
            assert_doubled(ask(opened.address)("hospital", BATCH))


def test_who_shows_nothing_or_talks_otherwise_is_refused_in_silence(capfd):
    logged = logging.handlers.BufferingHandler(1000)  # as an application's: pytest's sees all
    logging.getLogger().addHandler(logged)
    with hub() as opened:
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
        older = credentials.context(PEM["hospital"])
        older.minimum_version, older.maximum_version = (
            ssl.TLSVersion.TLSv1_2,
            ssl.TLSVersion.TLSv1_2,
        )
        uri = f"wss://127.0.0.1:{opened.address[1]}/client"
        for secured in (bare, older):
            with pytest.raises(connecting.BROKEN), connect(uri, ssl=secured, proxy=None) as open_:
                open_.recv(SOON)
        for bytes_ in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(99), bytes(9999)):
            with socket.create_connection(opened.address) as plain:
                plain.sendall(bytes_)
        with (
            socket.create_connection(opened.address) as plain,
            credentials.context(PEM["hospital"]).wrap_socket(plain) as secured,
        ):
            secured.sendall(b"\0" * 100_000)
        with client(opened.address):
            assert_doubled(ask(opened.address)("hospital", BATCH))
    logging.getLogger().removeHandler(logged)
    assert [record.getMessage() for record in logged.buffer] == []
    assert capfd.readouterr().err == ""


def test_a_client_does_not_talk_to_who_may_not_serve():
    said = queue.Queue()
    secured = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secured.load_verify_locations(cadata=AUTHORITY.certificate)
    secured = credentials.context(PEM["clinic"], serving=True)
    with socket.create_server(HERE) as listening, client(listening.getsockname(), say=said.put):
        accepted, _ = listening.accept()
        with accepted, pytest.raises(ssl.SSLError), secured.wrap_socket(accepted, True) as taken:
            taken.recv(1)
        assert "certificate" in said.get(timeout=SOON)


def test_credentials_that_are_refused_are_no_reason_to_wait():
    with hub() as opened, pytest.raises(ClusterError, match="none of the clients"):
        ByHub(*opened.address, pem=PEM["hospital"])("hospital", BATCH)


# ---- who sends nonsense


def test_an_asker_that_sends_nonsense_is_told_or_cut_off(monkeypatch):
    monkeypatch.setitem(connecting.BOUNDS, "max_size", 1000)
    with hub() as opened, client(opened.address):
        for sent in ([b"hospital", b""], ["hospital", "text"], ["hospital", bytes(1001)]):
            with raw(opened.address, connecting.ASKER, ASKER) as asker:
                for one in sent:
                    asker.send(one)
                with pytest.raises(ConnectionClosed):
                    asker.recv(SOON)
        with raw(opened.address, connecting.ASKER, ASKER) as asker:
            asker.send("nobody" * 100)
            asker.send(b"")
            assert len(asker.recv(SOON)) < 120
            asker.send("hospital")
            asker.send(packed(BATCH))
            assert_doubled(unpacked(asker.recv(SOON)))


@pytest.mark.parametrize(
    "frame", [b"", b"\0" * 100, b"\x80\x04\x95", packed(BATCH)[:-1]], ids=["0", "1", "2", "3"]
)
def test_a_client_answers_nonsense_with_one_word_and_goes_on(frame):
    said = queue.Queue()
    with hub() as opened, client(opened.address, say=said.put):
        with raw(opened.address, connecting.ASKER, ASKER) as asker:
            asker.send("hospital")
            asker.send(frame)
            answer = unpacked(asker.recv(SOON))
            assert (answer.name, answer.values) == ("refused", {"why": "unreadable"})
        assert_doubled(ask(opened.address)("hospital", BATCH))
    assert any("cannot be read" in text for text in said.queue)


@pytest.mark.parametrize("error", [ValueError, OSError, MemoryError, MessageError, RuntimeError])
def test_what_fails_on_the_client_is_told_there_alone(error):
    said = queue.Queue()

    def failing(message):
        if message.values["round"] == 3:
            raise error("/private/patient-7.png")
        if message.values["round"] == 4:
            return Message("answer", {"of": object()})
        raise RefusedError("/private", "")

    with hub() as opened, client(opened.address, answer=failing, say=said.put):
        for round in (3, 4, 5):
            answer = ask(opened.address)("hospital", Message("double", {"round": round}))
            assert (answer.name, answer.values, answer.arrays) == ("refused", {"why": "failed"}, {})
    assert sum("patient-7" in text for text in said.queue) == 1


def test_nonsense_from_a_client_reaches_who_asked_as_an_error():
    with hub() as opened, raw(opened.address) as hostile:
        for nonsense in ("text", b"", b"\x80\x04\x95"):
            answer = in_background(ask(opened.address), "hospital", BATCH)
            hostile.recv(SOON)
            hostile.send(nonsense)
            with pytest.raises(MessageError):
                answer()


def test_a_client_outlives_a_hub_that_sends_anything(monkeypatch):
    said = queue.Queue()
    sent = [b"", "text", b"\0" * 9, packed(BATCH), [b"a"] * 10, bytes(1001), packed(BATCH)]
    monkeypatch.setitem(connecting.BOUNDS, "max_size", 1000)

    class Hostile(Hub):
        async def _stay(self, name, connection):
            for one in sent:
                with contextlib.suppress(ConnectionClosed):
                    await connection.send(one)
            await connection.close(1008, "\x1b]0;x" * 5)

    hostile = Hostile(HERE, AUTHORITY, ["hospital"], Told())
    with hostile as opened, client(opened.address, say=said.put) as thread:
        for expected in ("connected", "not connected") * 2:
            while not said.get(timeout=SOON).startswith(expected):
                pass
        assert thread.is_alive()


def test_a_hub_that_says_nothing_any_more_is_noticed(monkeypatch):
    monkeypatch.setitem(connecting.BOUNDS, "ping_interval", 0.05)
    monkeypatch.setitem(connecting.BOUNDS, "ping_timeout", 0.1)
    monkeypatch.setitem(connecting.BOUNDS, "close_timeout", 0.1)
    said = queue.Queue()

    class Stuck(Hub):
        async def _stay(self, name, connection):
            time.sleep(1.0)  # its whole loop

    with (
        Stuck(HERE, AUTHORITY, ["hospital"], Told()) as opened,
        client(opened.address, say=said.put),
    ):
        assert said.get(timeout=SOON).startswith("connected")
        assert "ping timeout" in said.get(timeout=0.9)


def test_what_is_wrong_is_said_once_while_it_lasts():
    said = queue.Queue()
    with hub() as opened:
        address = opened.address
    with client(address, say=said.put):
        assert "it is tried again" in said.get(timeout=SOON)
        time.sleep(0.2)
        assert said.empty()
        with hub(address=address):
            assert said.get(timeout=SOON).startswith("connected")
        assert "not connected" in said.get(timeout=SOON)
