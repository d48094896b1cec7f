"""Records `%azray up` as docs/images/up.webp: a person types in a real JupyterLab, and a real cluster comes up.

Takes one to three minutes; leaves nothing running. The pictures are those of the browser; only the time is made
shorter: what waits is shown in a few seconds, whatever the machine needed.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from azray_lab.testing.lab import Notebook, open_browser, run_jupyterlab

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGE = Path(__file__).resolve().parent.parent / "docs" / "images" / "up.webp"
LARGEST = 1_500_000  # bytes: pages that show it should still open at once
SIZE = {"width": 960, "height": 600}
SECONDS = 400.0
UP = "%azray up --name team-a --workers 2"
USE = "import ray\n\nray.get([ray.remote(lambda n: n * n).remote(n) for n in range(8)])"
LOAD_CELL, UP_CELL, USE_CELL = range(3)
# Milliseconds that a picture is shown.
KEYSTROKE, STEP, LOOK, END = 60, 160, 1_200, 3_000
# Pictures of a wait; more tell nothing more.
MOST = 45
EVERY = 0.25  # seconds


class Film:
    """Pictures of a page, each with the milliseconds for which it is shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.pictures: list[bytes] = []
        self.times: list[int] = []

    def shoot(self, milliseconds: int) -> None:
        """Takes a picture; one that equals the last is that one, shown longer."""
        picture = self._page.screenshot(animations="disabled", caret="initial")
        if self.pictures and picture == self.pictures[-1]:
            self.times[-1] = min(self.times[-1] + milliseconds, END)
        else:
            self.pictures.append(picture)
            self.times.append(milliseconds)

    def thin(self, start: int) -> None:
        """Leaves at most MOST of the pictures from `start` on, evenly; the first and the last of them stay."""
        count = len(self.pictures) - start
        if count > MOST:
            kept = [*range(start), *(start + round(n * (count - 1) / (MOST - 1)) for n in range(MOST))]
            self.pictures = [self.pictures[n] for n in kept]
            self.times = [self.times[n] for n in kept]

    def save(self, path: Path) -> None:
        """Writes the pictures as one animated WebP that begins anew at its end."""
        first, *others = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in self.pictures]
        first.save(path, save_all=True, append_images=others, duration=self.times, loop=0, quality=80, method=4)


def main() -> None:
    """Makes the recording and says what came of it."""
    # A short path, because the sockets of the cluster lie below it.
    with tempfile.TemporaryDirectory(prefix="azr-", dir="/tmp") as temporary:
        home = Path(temporary)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        os.environ.update(AZRAY_HOME=str(home / "azray"), HOME=str(home), PATH=path, RAY_USAGE_STATS_ENABLED="0")
        (home / "work").mkdir()
        with (
            run_jupyterlab(home / "work", home / "state") as lab,
            open_browser(lab, viewport=SIZE, device_scale_factor=1) as browser,
        ):
            lab.write("first-steps.ipynb", ["%load_ext azray_lab", "", ""])
            try:
                film = record(browser.open("first-steps.ipynb"))
            finally:
                end_clusters()
    film.save(IMAGE)
    size, shown = IMAGE.stat().st_size, sum(film.times) / 1000
    print(f"{IMAGE.name}: {len(film.pictures)} pictures, {shown:.0f} s, {size // 1024} KiB")
    if size > LARGEST:
        sys.exit(f"{IMAGE.name} is larger than {LARGEST // 1024} KiB: fewer or smaller pictures")


def record(notebook: Notebook) -> Film:
    """Types and runs the cells, with a picture of each step."""
    notebook.page.keyboard.press("Control+b")  # the file browser is not what it is about
    notebook.run(LOAD_CELL)
    notebook.finish(LOAD_CELL, SECONDS)
    film = Film(notebook.page)
    write(notebook, film, UP_CELL, UP, at_once=1)
    run(notebook, film, UP_CELL)
    write(notebook, film, USE_CELL, USE, at_once=3)
    run(notebook, film, USE_CELL)
    film.shoot(END)
    return film


def write(notebook: Notebook, film: Film, cell: int, text: str, *, at_once: int) -> None:
    """Types `text` into a cell, with a picture after each few letters."""
    notebook.edit(cell)
    for start in range(0, len(text), at_once):
        notebook.page.keyboard.insert_text(text[start : start + at_once])
        film.shoot(KEYSTROKE)
    film.shoot(LOOK)


def run(notebook: Notebook, film: Film, cell: int) -> None:
    """Runs a cell with pictures until it is done, and a long look at what it shows then."""
    notebook.page.keyboard.press("Control+Enter")
    start, deadline = len(film.pictures), time.monotonic() + SECONDS
    while not notebook.prompt(cell).strip("[]:").strip().isdecimal():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the cell is still running: {notebook.text(cell)}")
        film.shoot(STEP)
        time.sleep(EVERY)
    notebook.page.wait_for_timeout(1_000 * EVERY)  # what the cell returned is drawn after its number
    film.thin(start)
    notebook.output(cell).last.scroll_into_view_if_needed()
    film.shoot(LOOK)


def end_clusters() -> None:
    """Ends what the recording has started."""
    import azray_lab

    for cluster in azray_lab.clusters():
        cluster.down()


if __name__ == "__main__":
    main()
