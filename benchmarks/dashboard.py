"""What watching takes: opening a large run, moving the cursor, following a run, and memory.

    python benchmarks/dashboard.py open            # a run of 32×32 cells × 500 rounds
    python benchmarks/dashboard.py click           # on the cells of a small run
    python benchmarks/dashboard.py follow          # how late rounds are shown, and what that costs
    python benchmarks/dashboard.py memory --minutes 30
    python benchmarks/dashboard.py against --tree ../before     # keys and clicks of two checkouts

Needs Chromium and playwright. The numbers of the large run are synthetic, as it would take days;
its folder is what a real one would leave. `follow` trains in a process of its own, with no browser,
one and ten in turn, so that the run has one core of two and the pages the other.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import xarray as xr

import gandask as gd
from gandask import results
from gandask.core.shown import packed
from gandask.results import Results
from gandask.store import create

SIDE, ROUNDS, SMALL_ROUNDS = 32, 500, 40
SHOWN_ROUNDS = 25  # at the end, of which samples are there
PORT = 5497
TREE = Path(__file__).resolve().parent.parent
CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MODELS = "[...Bokeh.documents[0]._all_models.values()]"
SHOWN = (
    "figures => window.Bokeh?.documents?.length && "
    f"{MODELS}.filter(m => m.type === 'Figure').length >= figures"
)
FIRST, ALL = 4, 9  # figures of a grid's page: map, two traces and events come before all others
TITLED = f"title => {MODELS}.some(m => m.type === 'Figure' && m.title?.text === title)"
NAMED = f"title => {MODELS}.some(m => m.type === 'Figure' && m.title?.text?.startsWith(title))"
HEADED = f"place => {MODELS}.some(m => m.text?.includes?.(`&gt;${{place}}&lt;/h2`))"
PLACE = """([col, row]) => {
  const all = view => [view, ...[...(view.child_views ?? [])].flatMap(all)]
  const map = [...Bokeh.index.roots].flatMap(all).find(view => view.model?.type === "Figure" &&
    view.model.renderers.some(renderer => renderer.glyph?.type === "Rect"))
  const box = map.el.getBoundingClientRect(), frame = map.frame ?? map
  return [box.x + frame.x_scale.compute(col), box.y + frame.y_scale.compute(row)]
}"""
# to click on, in turn, after (0, 0)
CELLS = ((1, 1), (2, 2), (0, 1), (2, 0), (1, 2), (0, 2), (1, 0), (2, 1))
SMALL = {
    "data": "ring8",
    "network": "small_mlp",
    "shape": (3, 3),
    "batch_size": 100,
    "data_fraction": 0.25,
    "score_samples": 500,
    "final_samples": 500,
}


def large_run(path: Path, finished: bool) -> None:
    """Write the folder of a large run with synthetic numbers."""
    method = gd.Grid(data="ring8", network="small_mlp", shape=(SIDE, SIDE), rounds=ROUNDS)
    facts, layout = method.prepare(), method.layout()
    store, collected = create(path, method, facts), Results(layout, ROUNDS)
    chance, cells = np.random.default_rng(0), SIDE * SIDE
    slots, workers = list(layout.slots), [f"worker-{cell % 64}" for cell in range(cells)]
    routines = ("gather", "fitness", "train", "replace", "scores", "other")
    with store.columns.replaced() as write:
        for round in range(1, ROUNDS + 1):
            numbers = np.full(cells, round)
            timings = {"slot": slots, "round": numbers, "worker": workers}
            timings |= {"started": numbers * 1.0, "gathered": numbers}
            timings["seconds"] = {name: chance.random(cells) for name in routines}
            values = {
                name: synthetic(variable, cells, round, chance)
                for name, variable in layout.variables.items()
                if variable.by_round
            }
            table = {"slot": slots, "round": numbers, "begins": {}, "values": values}
            told = {"elapsed": 9.0 * round, "timings": timings, "records": [table], "events": []}
            collected.take(told)
            write(told)
            if round > ROUNDS - SHOWN_ROUNDS:
                for slot in slots:
                    points = chance.normal(size=(512, 2))
                    store.shown.append(slot, round, packed(points))
    if finished:
        store.write_dataset(collected.dataset(results.attributes(method, facts)))
    store.describe("finished" if finished else "running", ROUNDS)


def synthetic(variable, cells: int, round: int, chance) -> np.ndarray:
    """Make numbers of one round: falling scores, parents and neighbours at random."""
    width = (5,) if variable.dims else ()
    if variable.dtype == "str":
        return np.full(cells, "bce")
    if variable.dtype == "int64":
        return chance.integers(0, cells, (cells, *width))
    if variable.dtype == "bool":
        return chance.random(cells) < 0.1
    return chance.random((cells, *width)) * np.exp(-round / 200)


@contextlib.contextmanager
def served(runs: Path, tree: Path = TREE, port: int = PORT):
    """Serve the pages of a checkout as a user would; give the server's process, and its token."""
    command = [sys.executable, "-m", "gandask", "dashboard", str(runs), "--port", str(port)]
    log, state = subprocess.DEVNULL, os.environ | {"XDG_STATE_HOME": str(runs.parent)}
    state["PYTHONPATH"] = str(tree)
    server = subprocess.Popen(command, stdout=log, stderr=log, env=state, cwd=tree)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://localhost:{port}/"):
            break
        time.sleep(0.2)
    try:
        (told,) = runs.parent.glob(f"gandask/pages-{server.pid}.html")
        yield psutil.Process(server.pid), told.read_text("utf-8").rpartition("token=")[2].strip()
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def browser(program: Path = CHROMIUM):
    """Start Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        yield started
        started.close()


def visit(chromium, run: str, token: str, port: int = PORT):
    """Open the live page of a run; give it, and the seconds until its first plots, and all."""
    page = chromium.new_page(viewport={"width": 1366, "height": 768})
    page.goto(f"http://localhost:{port}/live/metadata?token={token}")  # for its cookie
    page.wait_for_url(lambda address: "token=" not in address)  # it leads on by itself
    begun, seconds = time.perf_counter(), []
    page.goto(f"http://localhost:{port}/live?run={run}")
    for figures in (FIRST, ALL):
        page.wait_for_function(SHOWN, arg=figures, timeout=120_000)
        seconds.append(time.perf_counter() - begun)
    return page, seconds


def heeded(page) -> None:
    """Wait until the page heeds keys, at the last round: plots are there before that."""
    title = f"{MODELS}.find(m => m.type === 'Figure' && /^round/.test(m.title?.text)).title.text"
    first = page.evaluate(title)
    while page.evaluate(title) == first:
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(500)
    page.keyboard.press("End")
    page.wait_for_function(TITLED, arg=first, timeout=60_000)
    page.wait_for_timeout(1000)


def moved(page, round: int, rest: int) -> float:
    """Rest for some ms, press a key for one round back, and time until the map shows it."""
    page.wait_for_timeout(rest)
    begun = time.perf_counter()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(TITLED, arg=f"round {round}", polling=5, timeout=20_000)
    return time.perf_counter() - begun


def open_large(folder: Path, repeats: int) -> xr.Dataset:
    """Open the large run and move its cursor, again and again."""
    runs, rows = folder / "runs", {}
    large_run(runs / "finished", True)
    large_run(runs / "unfinished", False)
    with browser() as chromium:
        for run in ("finished", "unfinished"):
            with served(runs) as (_, token):
                page, first = visit(chromium, run, token)
                page.close()
                opened, whole, cursor, played = [], [], [], []
                for _ in range(repeats):
                    page, seconds = visit(chromium, run, token)
                    opened.append(seconds[0])
                    whole.append(seconds[1])
                    heeded(page)
                    cursor += [moved(page, ROUNDS - step, rest=500) for step in range(1, 11)]
                    played += [moved(page, ROUNDS - step, rest=0) for step in range(11, 21)]
                    page.close()
            medians = map(statistics.median, (opened, whole, cursor, played))
            rows[run] = [first[0], *medians, max(cursor)]
    columns = ["first visit", "opening", "all", "cursor", "cursor, without a rest", "cursor, worst"]
    return xr.Dataset(
        {"seconds": (("run", "measure"), list(rows.values()), {"units": "s"})},
        {"run": list(rows), "measure": columns},
    )


def clicked(page, row: int, col: int) -> tuple[float, float]:
    """Click on a cell of the map, and time until the page names and shows it, and has drawn all."""
    place = f"row {row}, col {col}"
    assert not page.evaluate(HEADED, place), "it is of that cell already"
    begun = time.perf_counter()
    page.mouse.click(*page.evaluate(PLACE, [col, row]))
    page.wait_for_function(HEADED, arg=place, polling=5, timeout=20_000)
    named = time.perf_counter() - begun
    page.wait_for_function(NAMED, arg=f"{place} in round", polling=5, timeout=20_000)
    return named, time.perf_counter() - begun


def click(folder: Path, repeats: int) -> xr.Dataset:
    """Click on the cells of a small run that is finished, one after the other."""
    runs, seconds = folder / "runs", []
    runs.mkdir(parents=True)
    train(runs / "small").wait()
    with browser() as chromium, served(runs) as (_, token):
        for _ in range(repeats):
            page, _ = visit(chromium, "small", token)
            heeded(page)
            page.mouse.click(*page.evaluate(PLACE, [0, 0]))
            for row, col in CELLS:
                page.wait_for_timeout(3000)
                seconds.append(clicked(page, row, col))
            page.close()
    parts = (0.5, 0.95, 1.0)
    return xr.Dataset(
        {"seconds": (("quantile", "what"), np.quantile(seconds, parts, axis=0), {"units": "s"})},
        {"quantile": [*parts], "what": ["the cell", "all"]},
    )


def in_turn(pages: dict, act, turns: int) -> np.ndarray:
    """Do something on each of two pages, in turn; give the median seconds, a row for each page."""
    seconds: dict[str, list] = {name: [] for name in pages}
    for turn in range(turns):
        for name in [*pages][:: 1 if turn % 2 else -1]:
            pages[name].bring_to_front()
            seconds[name].append(act(pages[name], turn))
    return np.median([seconds[name] for name in pages], axis=1)


def against(folder: Path, repeats: int, tree: Path) -> xr.Dataset:
    """Press keys and click on cells in turn, on pages of this checkout and of another one.

    A machine's pace changes from minute to minute: what is compared is done within seconds.
    """
    runs = folder / "runs"
    large_run(runs / "large", True)
    train(runs / "small").wait()
    trees = {"this": (TREE, PORT), "other": (tree.resolve(), PORT + 1)}

    def press(page, turn: int) -> list[float]:
        return [moved(page, ROUNDS - turn - 1, rest=1500)]

    def click_next(page, turn: int) -> tuple[float, float]:
        if turn == 0:
            page.mouse.click(*page.evaluate(PLACE, [0, 0]))
        page.wait_for_timeout(3000)
        return clicked(page, *CELLS[turn % len(CELLS)])

    with contextlib.ExitStack() as stack:
        chromium = stack.enter_context(browser())
        tokens = {name: stack.enter_context(served(runs, *at))[1] for name, at in trees.items()}
        columns = []
        for run, act in (("large", press), ("small", click_next)):
            pages = {}
            for name, (_, port) in trees.items():
                pages[name], _ = visit(chromium, run, tokens[name], port)
                heeded(pages[name])
            columns.append(in_turn(pages, act, len(CELLS) * repeats))
            for page in pages.values():
                page.close()
    medians = np.hstack(columns)
    return xr.Dataset(
        {
            "median": (("tree", "what"), medians, {"units": "s"}),
            "ratio": ("what", medians[0] / medians[1], {"units": "1"}),
        },
        {"tree": [*trees], "what": ["a key", "a click: the cell", "a click: all"]},
    )


def train(path: Path) -> subprocess.Popen:
    """Train a small grid in a process of its own."""
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items()]
    command = [sys.executable, "-m", "gandask", "train", "small.toml", "--store", str(path)]
    (path.parent.parent / "small.toml").write_text(f"rounds = {SMALL_ROUNDS}\n")
    return subprocess.Popen(
        [*command, *settings],
        cwd=path.parent.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def lateness(page, path: Path, training: subprocess.Popen) -> list[float]:
    """Give by how many seconds rounds were shown after they had been reported."""
    reported: dict[int, float] = {}
    shown: dict[int, float] = {}
    while training.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            done = json.loads((path / "run.json").read_bytes())["round"]
            reported.setdefault(done, time.monotonic())
        found = re.search(r"round (\d+) of", page.locator(".state").first.inner_text())
        if found:
            shown.setdefault(int(found[1]), time.monotonic())
        time.sleep(0.05)
    return [shown[round] - reported[round] for round in shown if round in reported]


def follow(folder: Path, repeats: int) -> xr.Dataset:
    """Train with nobody, one and ten browsers watching, in turn.

    The browsers have the lowest priority: people's are on machines of their own.
    """
    runs = folder / "runs"
    runs.mkdir(parents=True)
    walls: dict[int, list[float]] = {0: [], 1: [], 10: []}
    late: list[float] = []
    niced = folder / "chromium"
    niced.write_text(f'#!/bin/sh\nexec nice -n 19 {CHROMIUM} "$@"\n')
    niced.chmod(0o755)
    with browser(niced) as chromium, served(runs) as (_, token):
        for repeat in range(repeats):
            for watchers in walls:
                path = runs / f"{watchers}-{repeat}"
                training = train(path)
                while not (path / "heartbeat.json").exists():
                    time.sleep(0.1)
                pages = [visit(chromium, path.name, token)[0] for _ in range(watchers)]
                if watchers == 1:
                    late += lateness(pages[0], path, training)
                training.wait()
                ends = gd.open_run(path).ds["elapsed"].max(["row", "col"]).values
                # the first rounds are done before all watch
                walls[watchers].append(float(np.median(np.diff(ends)[len(ends) // 3 :])))
                for page in pages:
                    page.close()
    rounds = [statistics.median(found) for found in walls.values()]
    return xr.Dataset(
        {
            "round_seconds": ("watchers", rounds, {"units": "s"}),
            "ratio": ("watchers", [taken / rounds[0] for taken in rounds], {"units": "1"}),
            "late": ("quantile", np.quantile(late, (0.5, 0.95, 1.0)), {"units": "s"}),
        },
        {"watchers": list(walls), "quantile": [0.5, 0.95, 1.0]},
    )


def memory(folder: Path, minutes: int) -> xr.Dataset:
    """Watch a run for long, and give the server's memory by the minute."""
    runs = folder / "runs"
    method = gd.Grid(**SMALL, rounds=100_000)
    run = gd.start(method, store=runs / "long", checkpoint_every=50, progress=False)
    sizes, tab = [], []
    with browser() as chromium, served(runs) as (server, token):
        page, _ = visit(chromium, "long", token)
        for minute in range(minutes + 1):
            page.wait_for_timeout(60_000 if minute else 5_000)
            sizes.append(server.memory_info().rss / 2**20)
            tab.append(page.evaluate("performance.memory.usedJSHeapSize") / 2**20)
            print(f"{minute:3} min  {sizes[-1]:6.0f} MiB  tab {tab[-1]:5.0f} MiB", flush=True)
    run.stop()
    rounds = run.wait().sizes["round"]
    return xr.Dataset(
        {
            "server": ("minute", sizes, {"units": "MiB"}),
            "tab": ("minute", tab, {"units": "MiB"}),
            "rounds": rounds,
        }
    )


def main() -> None:
    """Measure, print and store."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("what", choices=("open", "click", "follow", "memory", "against"))
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--minutes", type=int, default=30)
    arguments.add_argument("--tree", type=Path, help="another checkout: against")
    arguments.add_argument("--output", type=Path)
    given = arguments.parse_args()
    if given.what == "against" and given.tree is None:
        arguments.error("against what? expected --tree FOLDER, another checkout")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "memory":
            made = memory(Path(folder), given.minutes)
        elif given.what == "against":
            made = against(Path(folder), given.repeats, given.tree)
        else:
            measured = {"open": open_large, "click": click, "follow": follow}[given.what]
            made = measured(Path(folder), given.repeats)
    for name, variable in made.data_vars.items():
        print(f"\n{name} ({variable.attrs.get('units', '')})")
        print(variable.to_pandas().round(3).to_string() if variable.ndim else variable.item())
    if given.output:
        made.to_zarr(given.output, mode="w", zarr_format=3, consolidated=False)


if __name__ == "__main__":
    main()
