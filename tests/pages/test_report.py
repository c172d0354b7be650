"""Reports: complete, self-contained, and safe against what a run is called."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from browser import Tab
from conftest import tiny
from PIL import Image

import gandask as gd
from gandask.core import Figure, StoreError
from gandask.pages import report

# a map of the end, four traces, two rounds, four of a grid's own, profile, events: a checkpoint
PLOTS = 14
TINY = {
    "data": "ring8",
    "network": "small_mlp",
    "shape": (1, 2),
    "rounds": 2,
    "batch_size": 500,
    "score_samples": 100,
    "final_samples": 200,
}


class Page(HTMLParser):
    """The tags of a document, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.words.append(data.strip())

    @property
    def text(self):
        return " ".join(word for word in self.words if word)

    @property
    def plots(self):
        return [a for tag, a in self.tags if tag == "div" and "data-root-id" in a]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "tiny"
    gd.run(gd.Grid(**TINY), store=path)
    return gd.open_run(path)


@pytest.fixture(scope="module")
def page(run):
    return Page(report.page(run))


def unfinished(path, **changes):
    """A run that broke off before its first checkpoint."""

    def fail(self, last):
        raise StoreError("no space for <b>checkpoints</b>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gandask.engine.kept.KeptSession.checkpoint", fail)
        with pytest.raises(StoreError):
            gd.run(gd.Grid(**TINY | changes), store=path, checkpoint_every=1)
    return gd.open_run(path)


def test_a_report_is_one_file_in_the_store(run, tmp_path):
    assert report.write(run) == run.store.path / "report.html"
    other = report.write(run, tmp_path / "other.html")
    assert other.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["other.html"]
    assert 0.5e6 < other.stat().st_size < 5e6


def test_a_report_tells_what_the_run_came_to(run, page):
    ds = run.ds
    row, col = 0, int(ds["final_fid"].values[0].argmin())
    best = ds.isel(row=row, col=col)
    assert "grid on ring8: finished" in page.text
    assert f"best by FID, final, 200 samples row {row}, col {col}" in page.text
    assert f"FID, final, 200 samples {float(best['final_fid']):.3g}" in page.text
    assert f"modes covered, final, 200 samples {int(best['final_modes'])} of 8" in page.text
    assert f"{100 * float(best['final_high_quality']):.1f} %" in page.text
    assert "rounds 2 of 2" in page.text
    assert "workers 1" in page.text
    assert str(run.store.path) in page.text


def test_a_report_has_all_settings_and_versions(run, page):
    for name in run.settings:
        assert f" {name} " in page.text
    assert "batch_size 500" in page.text
    assert "shape 1, 2" in page.text
    assert f"torch {run.ds.attrs['torch_version']}" in page.text


def test_a_report_has_plots_and_samples(run, page):
    assert len(page.plots) == PLOTS
    assert "2 checkpoint round-000002 in" in page.text
    (picture,) = [a["src"] for tag, a in page.tags if tag == "img"]
    content = base64.b64decode(picture.removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(content)).size == (512, 512)


def test_a_report_asks_for_nothing_outside(page):
    linked = [a[key] for _, a in page.tags for key in ("src", "href", "srcset") if key in a]
    assert all(address.startswith("data:") for address in linked)
    assert not [a for tag, a in page.tags if tag in ("link", "base", "iframe", "object")]
    (policy,) = [a["content"] for _, a in page.tags if "http-equiv" in a]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_names_cannot_inject_markup(tmp_path):
    folder = tmp_path / "<script>alert(1)<"
    folder.mkdir()
    points = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    np.savez(folder / "script>.npz", samples=points, labels=np.arange(600) % 3)
    hostile = str(folder / "script>.npz")
    made = report.page(unfinished(folder / "run", data=hostile))
    parsed = Page(made)
    assert not re.search(r"<script>alert|<b>checkpoints", made)
    assert hostile in parsed.text
    assert "no space for <b>checkpoints</b>" in parsed.text
    assert not [a for tag, a in parsed.tags if tag == "b"]


def test_a_report_begins_with_the_story_of_its_run(run, page):
    told = run.story()
    assert told.startswith("The best FID ") and "It finished after" in told
    assert told in page.text


def test_events_cannot_inject_markup_and_the_table_is_cut(run, monkeypatch):
    count = report.EVENTS + 5
    detail = "</script><script>alert(2)</script>"
    events = {
        "event_round": ("event", np.arange(count), {"long_name": "round"}),
        "event_kind": ("event", np.full(count, "non_finite"), {"long_name": "kind"}),
        "event_slot": ("event", np.full(count, "cell/0"), {"long_name": "where"}),
        "event_detail": ("event", np.full(count, detail), {"long_name": "more"}),
        "event_machine": ("event", np.full(count, False), {"long_name": "by whom"}),
    }
    ds = xr.Dataset(dict(run.ds.drop_dims("event").data_vars) | events, attrs=run.ds.attrs)
    monkeypatch.setattr(gd.Run, "ds", ds)
    made = report.page(run)
    parsed = Page(made)
    assert "<script>alert" not in made
    assert parsed.text.count(detail) == report.EVENTS
    assert "and 5 more in the Dataset" in parsed.text
    assert len(parsed.plots) == PLOTS


def test_an_unfinished_run_says_what_is_missing(tmp_path):
    parsed = Page(report.page(unfinished(tmp_path / "run")))
    assert "grid on ring8: failed" in parsed.text
    assert "the run is failed: 1 of 2 rounds are here" in parsed.text
    assert "has no checkpoint yet" in parsed.text
    assert "(round 1)" in parsed.text, "scores are those of the last round"
    assert not [a for tag, a in parsed.tags if tag == "img"]
    assert len(parsed.plots) == PLOTS - 2, "one round, and there was no event"


def test_a_run_without_a_round_can_be_reported(tmp_path, monkeypatch):
    opened = unfinished(tmp_path / "run")
    opened.store.columns.path.write_bytes(b"")
    parsed = Page(report.page(opened))
    assert "0 of 2 rounds are here" in parsed.text
    assert "nothing was scored yet" in parsed.text
    assert len(parsed.plots) == 1


def test_a_run_of_groups_has_maps_of_one_row_and_its_own_figures(tmp_path):
    gd.run(tiny("mggan"), store=tmp_path / "run")
    parsed = Page(report.page(gd.open_run(tmp_path / "run")))
    assert "mggan on ring8: finished" in parsed.text
    assert "best by FID, final, 200 samples group" in parsed.text
    assert "FID of the final mixture, 200 samples" in parsed.text
    for title in ("Who met whom", "Mixture of all", "Generator loss", "Samples over time"):
        assert title in parsed.text


def test_a_figure_that_fails_is_told_in_its_place(run, monkeypatch):
    def wrong(ds):
        raise RuntimeError("no <b>ink</b>")

    figures = {"wrong": Figure("Sketch", wrong), "none": Figure("Nothing", lambda ds: 3)}
    monkeypatch.setattr(gd.Grid, "figures", lambda self: figures)
    made = report.page(run)
    assert "RuntimeError: no" in made and "expected an element of HoloViews, not int" in made
    assert "<b>ink" not in made.replace("\\u003c", "<").split("<body>")[1].split("<script")[0]
    assert len(Page(made).plots) == PLOTS - 3


# by plot, the smaller side of its largest canvas that something is drawn on
DRAWN = """() => {
  const inside = root => [...root.querySelectorAll("*")].flatMap(
    element => [element, ...(element.shadowRoot ? inside(element.shadowRoot) : [])])
  const side = canvas => {
    if (!canvas.width || !canvas.height) return 0
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    return pixels.some(value => value) ? Math.min(canvas.clientWidth, canvas.clientHeight) : 0
  }
  return [...document.querySelectorAll("[data-root-id]")].map(plot =>
    Math.max(0, ...inside(plot).filter(element => element.tagName === "CANVAS").map(side)))
}"""


@pytest.mark.parametrize("width", [1366, 400])
def test_a_report_opens_in_a_browser_without_a_network(run, new_context, width):
    tab, asked = Tab(new_context, width, offline=True), []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.open(report.write(run).as_uri())
    tab.wait(f"({DRAWN})().every(side => side > 50)")
    assert tab.wrong == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [tab.page.url]
    assert len(tab.page.evaluate(DRAWN)) == PLOTS
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
