"""What gandask takes for granted of Panel's private parts, and who is answered there."""

import logging
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import bokeh.io.doc
import panel as pn
import panel.io.server
import pytest
from bokeh.document import Document
from bokeh.document.models import DocumentModelManager
from bokeh.io.doc import curdoc, patch_curdoc
from bokeh.models import Column, Div
from bokeh.server.connection import ServerConnection
from browser import ROOT, served, tokens
from panel.io.server import ComponentResourceHandler, get_static_routes

from gandask.pages import inline, panel_internals
from gandask.pages.panel_internals import ROUTES

SHEET = "/components/panel.theme.base/DefaultTheme/base_css/css/default.css"
SERVERS = {
    "gandask dashboard": ("gandask", "dashboard", "."),
    "panel serve": ("panel", "serve", str(ROOT / "dashboards")),
}


def ask(address, cookie=""):
    request = urllib.request.Request(address, headers={"Cookie": cookie})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def cookie(address):
    """Come in by the token, as the owner does."""
    form = urllib.parse.urlencode({"token": tokens[int(address.rpartition(":")[2])]}).encode()
    with urllib.request.urlopen(f"{address}/login", form) as answer:
        return answer.headers["Set-Cookie"].partition(";")[0]


def test_the_route_is_the_one_that_panel_has():
    assert get_static_routes({}) == [(*ROUTES[0][:1], ComponentResourceHandler, {})]
    assert "import_module" in ComponentResourceHandler.parse_url_path.__code__.co_names


def test_servers_that_panel_makes_take_ours(monkeypatch):
    monkeypatch.setattr(panel.io.server, "ComponentResourceHandler", ComponentResourceHandler)
    panel_internals.close_components()
    assert get_static_routes({}) == [(*ROUTES[0], {})]


@pytest.fixture
def looked(monkeypatch):
    """The documents whose models were found anew."""
    found, recompute = [], DocumentModelManager.recompute

    def recomputed(models):
        found.append(models)
        recompute(models)

    monkeypatch.setattr(DocumentModelManager, "recompute", recomputed)
    return found


def changed(document, text, column):
    """Change a text, as HoloViews and Panel do: in freezes of their own."""
    for _ in range(2):
        with document.models.freeze():
            text.text += "!"


def grown(document, text, column):
    """Show a second text beside the first."""
    column.children = [text, Div()]


def rooted(document, text, column):
    """Have another root."""
    document.add_root(Div())


def nested(document, text, column):
    """Change what is shown, in two parts."""
    for _ in range(2):
        with panel_internals.settled(document):
            column.children = [text, Div()]


@pytest.mark.parametrize(("act", "times"), [(changed, 0), (grown, 1), (rooted, 1), (nested, 1)])
def test_a_document_is_looked_through_where_it_has_other_models(looked, act, times):
    document, text = Document(), Div(text="so")
    column = Column(children=[text])
    document.add_root(column)
    looked.clear()
    with panel_internals.settled(document):
        act(document, text, column)
        assert not looked
    assert looked == [document.models] * times
    assert {*document.models} == {one for root in document.roots for one in root.references()}
    looked.clear()
    column.children = []
    assert looked == [document.models]  # as ever


def test_a_page_that_is_drawn_in_a_thread_is_no_other_threads_document(monkeypatch):
    """A notebook's figures had the page's addresses of style sheets: nothing is there."""
    monkeypatch.setattr(bokeh.io.doc, "_PATCHED_CURDOCS", [])
    page = Document()
    page._session_context = lambda: SimpleNamespace()
    begun, parted, ended, found = *(threading.Event() for _ in range(3)), []

    def draw():
        with patch_curdoc(page):  # as Dask's pages are when the first page is asked for
            begun.set()
            parted.wait(10)
        with patch_curdoc(page):
            ended.wait(10)
            found.append(pn.state.curdoc)

    thread = threading.Thread(target=draw)
    thread.start()
    begun.wait(10)
    panel_internals.part_threads()
    parted.set()
    try:
        assert pn.state.curdoc is None
        with patch_curdoc(other := Document()):
            assert curdoc() is other
    finally:
        ended.set()
        thread.join()
    assert found == [page]
    assert not bokeh.io.doc._PATCHED_CURDOCS.before, "whoever was at work has ended"


@pytest.mark.deep
@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_no_address_imports_a_module(tmp_path, command):
    """Those of the current folder, and those that are installed: ``test.autotest`` exits."""
    (tmp_path / "stranger.py").write_text("open('ran', 'w').close()")
    modules = ("stranger", "test.autotest", "panel.tests.util", "panel..stranger", "os", "")
    with served(tmp_path, command=command) as address:
        owner = cookie(address)
        for module in modules:
            path = f"{address}/components/{module}/a/b/c"
            assert (ask(path), ask(path, owner)) == (403, 404), module
        assert (ask(address + SHEET), ask(address + SHEET, owner)) == (403, 200)
    assert [file.name for file in tmp_path.iterdir()] == ["stranger.py"]


def test_nor_does_one_of_a_page_in_a_notebook(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    address = f"http://localhost:{inline._port()}"
    assert ask(f"{address}/components/stranger/a/b/c") == 404
    assert ask(address + SHEET) == 200
    assert "stranger" not in sys.modules


def test_a_tab_that_is_closed_is_no_fault_and_faults_are_told():
    told = []
    filtering = panel_internals.Closed()

    def record(error=None, message="Uncaught exception"):
        info = (type(error), error, error.__traceback__) if error else None
        made = logging.LogRecord("tornado.application", logging.ERROR, "", 0, message, (), info)
        told.append(filtering.filter(made))

    connection = ServerConnection.__new__(ServerConnection)
    connection._session = None
    try:
        connection.session  # noqa: B018
    except AssertionError as error:  # as Bokeh does when a tab is closed before it had a session
        record(error)
    try:
        raise AssertionError("of ours")
    except AssertionError as error:
        record(error)
    record(message="Failed sending message as connection was closed")
    record()
    assert told == [False, True, False, True]
