"""Put a still picture below each interactive figure of stored notebooks.

    python notebooks/still.py                        # all beside this file
    python notebooks/still.py notebooks/grid.ipynb

A code host runs no scripts, and without a network none is loaded: figures would be blank there. The
pictures are what Chromium draws of the outputs that are stored; nothing is run again. Needs
Chromium and playwright.
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from typing import Any

import bokeh
import nbformat
import panel as pn
from PIL import Image
from playwright.sync_api import Page, Route, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
STILL = "still"  # in an output's metadata
FIGURE = "application/vnd.holoviews_exec.v0+json"
SCRIPTS = {
    "https://cdn.bokeh.org/bokeh/release/": Path(bokeh.__file__).parent / "server/static/js",
    f"https://cdn.holoviz.org/panel/{pn.__version__}/dist/": Path(pn.__file__).parent / "dist",
}
"""Where what outputs load lies on this machine, by the beginning of its address."""
LOADED = [f"bokeh{part}-{bokeh.__version__}.min.js" for part in ("", "-gl", "-widgets", "-tables")]
WIDTH, PATIENCE, COLOURS = 900, 60_000, 128  # pixels, milliseconds
DRAWN = "document.querySelectorAll('.still *').length > 3 && Bokeh.documents.length"


def answer(route: Route) -> None:
    """Answer what a page asks for from this machine: there may be no network."""
    for beginning, folder in SCRIPTS.items():
        address = route.request.url.partition("?")[0]
        name = address.removeprefix(beginning).replace(f"-{bokeh.__version__}", "")
        if route.request.url.startswith(beginning) and (folder / name).is_file():
            route.fulfill(path=folder / name)
            return
    route.abort()


def picture(page: Page, figure: str) -> bytes:
    """Draw the HTML of a figure, as PNG."""
    of_bokeh, of_panel = SCRIPTS
    addresses = [of_bokeh + name for name in LOADED] + [f"{of_panel}panel.min.js"]
    scripts = "".join(f'<script src="{address}"></script>' for address in addresses)
    page.set_content(
        f'<body style="margin: 0">{scripts}<div class="still">{figure}</div></body>',
        timeout=PATIENCE,
    )
    page.wait_for_function(DRAWN, timeout=PATIENCE)
    page.wait_for_timeout(1000)  # sizes settle
    drawn = Image.open(io.BytesIO(page.locator(".still").screenshot()))
    buffer = io.BytesIO()
    drawn.convert("RGB").quantize(COLOURS).save(
        buffer, "PNG", optimize=True
    )  # a third of the bytes
    return buffer.getvalue()


def with_stills(notebook: Any, page: Page) -> int:
    """Put a picture below each figure, in the place of those before; count them."""
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        outputs = []
        for output in cell.outputs:
            if output.get("metadata", {}).get(STILL):
                continue
            outputs.append(output)
            shown = output.get("data", {})
            # without words it is no figure, but what loads their scripts
            if FIGURE in shown and "text/plain" in shown:
                drawn = picture(page, shown["text/html"])
                data = {"image/png": base64.b64encode(drawn).decode()}
                outputs.append(nbformat.v4.new_output("display_data", data, metadata={STILL: True}))
                count += 1
        cell.outputs = outputs
    return count


def main(paths: list[Path]) -> None:
    """Rewrite notebooks."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 800})
        page.route("**/*", answer)
        for path in paths:
            notebook = nbformat.read(path, as_version=4)
            count = with_stills(notebook, page)
            nbformat.write(notebook, path)
            print(f"{path}: {count} figures")


if __name__ == "__main__":
    here = Path(__file__).parent
    main([Path(name) for name in sys.argv[1:]] or sorted(here.glob("*.ipynb")))
