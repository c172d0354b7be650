"""Who may see pages and steer runs: what plain clients are answered, over HTTP and by websocket."""

import asyncio
import contextlib
import http.client
import os
import re
import stat
import threading
import urllib.parse
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from bokeh.client import pull_session
from bokeh.server.auth_provider import AuthModule
from bokeh.util.token import generate_jwt_token, generate_session_id
from browser import apart
from panel.io.server import get_server
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from gandask.core import SettingError
from gandask.pages import frame, guard, passwords, server
from gandask.pages.steering import Steering

SECRET = "what runs came to"
COOKIE = f"{guard.COOKIE}={guard._ticket}"


def shown():
    return frame.page("live", lambda: frame.message(SECRET))


@contextlib.contextmanager
def served(**options):
    """Serve a page from a thread; give its host."""
    started = Future()

    def serve():
        asyncio.set_event_loop(asyncio.new_event_loop())
        made = get_server({"/live": shown}, address="localhost", **options)
        made.start()
        started.set_result(made)
        made.io_loop.start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    made = started.result(60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "NICENESS", 0)  # tests go on in this process
        yield f"localhost:{made.port}"
    made.io_loop.add_callback(made.stop)
    made.io_loop.add_callback(made.io_loop.stop)
    thread.join(60)


@pytest.fixture(scope="module")
def host():
    with served(auth_provider=AuthModule(str(guard.MODULE))) as host:
        yield host


def ask(host, path, cookie="", **form):
    connection = http.client.HTTPConnection(host, timeout=60)
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    body = urllib.parse.urlencode(form)
    connection.request("POST" if form else "GET", path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def framed(answer):
    return answer.headers["X-Frame-Options"], answer.headers["Content-Security-Policy"]


UNFRAMED = ("DENY", "frame-ancestors 'none'")


@pytest.mark.parametrize(
    "cookie", ["", f"{guard.COOKIE}=", f"{guard.COOKIE}=guessed", "user=ada"], ids=range(4)
)
@pytest.mark.parametrize("path", ["/", "/live", "/live/metadata", "/live?token=", "/live?token=é"])
def test_who_has_neither_token_nor_cookie_is_asked_for_it(host, path, cookie):
    answer, body = ask(host, urllib.parse.quote(path, safe="/?="), cookie)
    assert (answer.status, body) == (302, "")
    assert re.match(r"\.?/login\?next=", answer.headers["Location"])
    assert framed(answer) == UNFRAMED


def test_a_token_is_exchanged_for_a_cookie_and_leaves_the_address(host):
    answer, body = ask(host, f"/live?run=first&token={guard.token()}&theme=dark")
    assert answer.headers["Set-Cookie"] == f"{COOKIE}; HttpOnly; Path=/; SameSite=Strict"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "url=./live?run=first&amp;theme=dark" in body
    assert guard.token() not in body
    answer, body = ask(host, "/live?run=first", COOKIE)
    assert (answer.status, "bokeh" in body) == (200, True)
    assert framed(answer) == UNFRAMED
    assert ask(host, "/live/autoload.js?bokeh-autoload-element=x", COOKIE)[0].status == 403


def test_the_token_can_be_filled_in(host):
    assert 'name="token"' in ask(host, "/login?next=/live")[1]
    assert ask(host, "/login", token="guessed")[0].status == 403
    answer, body = ask(host, "/login?next=//elsewhere.org/live", token=guard.token())
    assert COOKIE in answer.headers["Set-Cookie"]
    assert "url=./live" in body


def test_with_passwords_no_token_will_do(host, monkeypatch):
    token = guard.token()
    monkeypatch.setattr(guard, "_words", {})
    guard.require({"ada": "lovelace", "émile": "ß"})
    assert ask(host, f"/live?token={token}")[0].status == 302
    assert 'name="username"' in ask(host, "/login")[1]
    wrong = [{"token": token}, {"username": "ada", "password": "x"}, {"password": "lovelace"}]
    wrong += [{"username": "", "password": token}, {"username": "bob", "password": "lovelace"}]
    assert {ask(host, "/login", **form)[0].status for form in wrong} == {403}
    answer, _ = ask(host, "/login", username="émile", password="ß")
    assert COOKIE in answer.headers["Set-Cookie"]


def connect(host, cookie="", origin=None, **payload):
    """Open the websocket of a page without opening the page first; give the first answer."""

    async def opened():
        session = generate_jwt_token(generate_session_id(), extra_payload=payload or None)
        headers = {"Cookie": cookie, "Origin": origin or f"http://{host}"}
        request = HTTPRequest(f"ws://{host}/live/ws", headers=headers)
        socket = await websocket_connect(request, subprotocols=["bokeh", session])
        return await socket.read_message()

    return apart(asyncio.wait_for(opened(), 60))


FORGED = {"cookies": {guard.COOKIE: guard._ticket}, "headers": {}, "arguments": {}}


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"cookie": f"{guard.COOKIE}=guessed"},
        FORGED,
        {"cookie": COOKIE, "origin": "http://localhost:1"},
        {"cookie": COOKIE, "origin": "http://elsewhere.org"},
    ],
)
def test_a_websocket_is_not_opened_for_others(host, told):
    with pytest.raises(HTTPClientError, match="403"):
        connect(host, **told)


def test_a_websocket_is_opened_for_the_owner(host):
    assert "ACK" in connect(host, COOKIE)


@pytest.mark.parametrize(
    ("cookies", "seen"),
    [({}, False), ({guard.COOKIE: "guessed"}, False), ({guard.COOKIE: guard._ticket}, True)],
)
def test_a_server_that_does_not_ask_shows_nothing(cookies, seen):
    with served() as host, ThreadPoolExecutor() as thread:
        session = generate_session_id()
        payload = {"cookies": cookies, "headers": {}, "arguments": {}}
        token = generate_jwt_token(session, extra_payload=payload)
        # the page is made by whoever comes first
        ask(host, f"/live?bokeh-token={token}")
        pull = {"session_id": session, "url": f"http://{host}/live"}
        document = thread.submit(lambda: str(pull_session(**pull).document.to_json()))
    assert (SECRET in document.result()) is seen
    assert ("who has the token" in document.result()) is not seen


def test_who_may_not_steer_is_told_so():
    asked = []
    run = SimpleNamespace(pause=lambda: asked.append("pause"), stop=lambda: asked.append("stop"))
    followed = SimpleNamespace(run=run, state="running", version=1)
    barred = ["not you"]
    steering = Steering(lambda: followed, lambda: barred[0])
    steering.pause.clicks += 1
    steering.stop.clicks += 1
    assert (asked, "not you" in steering.answer.object) == ([], True)
    barred[0] = ""
    steering.pause.clicks += 1
    assert asked == ["pause"]


# ---- the token, and files of passwords


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("show", [True, False])
def test_only_the_owner_is_told_the_token(tmp_path, monkeypatch, capsys, terminal, show):
    opened = []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    server.tell("http://localhost:1/", show)
    whole = f"http://localhost:1/?token={guard.token()}"
    told = capsys.readouterr().err
    assert told == f"pages: {whole}\n" if terminal else guard.token() not in told
    for file in tmp_path.rglob("*.html"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert f"url={whole}" in file.read_text()
    assert len(list(tmp_path.rglob("*.html"))) == (show or not terminal)
    assert [guard.token() in address for address in opened] == [False] * show


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """Folders above a test's that are one's own, and open to others, as those of a user are."""
    path, its = tmp_path.resolve(), Path.stat
    own = os.stat_result((stat.S_IFDIR | 0o755, 0, 0, 2, os.getuid(), 0, 0, 0, 0, 0))
    outside = {path, *path.parents}

    def told(self, **options):
        return own if self in outside else its(self, **options)

    monkeypatch.setattr(Path, "stat", told)


def login(tmp_path, text='{"ada": "lovelace"}', mode=0o600, folder=0o755):
    above = tmp_path / "above"
    above.mkdir()
    file = above / "users.json"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    above.chmod(folder)
    return file


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": 0o602}, "others may write it; chmod 600"),
        ({"mode": 0o660}, "others may write it; chmod 600"),
        ({"folder": 0o777}, "others may replace it in .*above"),
        ({"folder": 0o775}, "others may replace it in .*above"),
        ({"mode": 0o644}, "others may read it; chmod 600"),
        ({"text": "[]"}, "expected names with a password for each"),
        ({"text": "{}"}, "expected names with a password for each"),
        ({"text": '{"": "x"}'}, "expected names with a password for each"),
        ({"text": '{"ada": ""}'}, "expected names with a password for each"),
        ({"text": '{"ada": 1}'}, "expected names with a password for each"),
        ({"text": "[" * 100_000}, "expected JSON"),
        ({"text": "ada"}, "expected JSON"),
    ],
)
def test_a_login_file_that_others_may_change_or_that_is_none_is_refused(
    tmp_path, own_folders, given, said
):
    with pytest.raises(SettingError, match=said):
        passwords.read(login(tmp_path, **given))


@pytest.mark.parametrize(
    "given", [{}, {"mode": 0o400}, {"mode": 0o644, "folder": 0o700}, {"folder": 0o1777}]
)
def test_a_login_file_of_ones_own_is_read(tmp_path, own_folders, given):
    assert passwords.read(login(tmp_path, **given)) == {"ada": "lovelace"}


def test_a_login_file_of_another_user_is_refused(tmp_path, own_folders):
    file = login(tmp_path)
    theirs = os.stat_result((stat.S_IFREG | 0o600, 0, 0, 1, os.getuid() + 1, 0, 2, 0, 0, 0))
    assert "belongs to another user" in passwords.others(file, theirs)
