"""Several runs at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gandask import results
from gandask.core import SettingError
from gandask.runs.opened import Run, open_run

if TYPE_CHECKING:
    import xarray as xr


def open_runs(runs: Iterable[str | os.PathLike[str] | Run | xr.Dataset]) -> xr.Dataset:
    """Put runs of one method side by side in one Dataset, each once.

    Parameters
    ----------
    runs : iterable of path-like, Run or Dataset
        Such as ``Path("runs").glob("seed-*")``: stores, opened runs, or what runs came to.

    Returns
    -------
    Dataset
        Every variable along ``run``, and then as in the Dataset of a run. ``run`` is the name of
        the folder, or the whole path where two folders have the same name; of a Dataset its number
        in `runs`. Settings and other attributes that differ are coordinates along ``run``: numbers
        as such, all else as text, and with ``setting_`` before the name where a variable has it.
        Where a run has fewer rounds, slots or events than others stand NaN, -1, False and ``""``.

    Raises
    ------
    SettingError
        If there is none, one is given twice, be it a copy or a repetition of another (the same
        settings, seed, data and networks), or they are of several methods.
    StoreError
        If one is no run, or cannot be read.

    Examples
    --------
    >>> import gandask as gd
    >>> settings = {"data": "ring8", "network": "small_mlp", "shape": (1, 1), "rounds": 1,
    ...             "batch_size": 500, "score_samples": 100, "final_samples": 100}
    >>> seeds = open_runs(gd.run(gd.Grid(**settings, seed=seed)) for seed in (1, 2))
    >>> seeds.fid.dims, seeds.seed.values.tolist()
    (('run', 'round', 'row', 'col'), [1, 2])
    """
    if isinstance(runs, str | os.PathLike | Run) or hasattr(runs, "data_vars"):
        raise SettingError(f"expected a list of runs, got one: [{runs!r}]")
    places: list[Path] = []
    datasets: list[xr.Dataset] = []
    for number, one in enumerate(runs):
        opened = open_run(one) if isinstance(one, str | os.PathLike) else one
        if not (isinstance(opened, Run) or hasattr(opened, "data_vars")):
            raise SettingError(f"expected stores, opened runs or Datasets, got {one!r}")
        path = opened.store.path if isinstance(opened, Run) else Path(str(number))
        if path in places:
            raise SettingError(f"{path} is given twice: it would count as two runs")
        places.append(path)
        datasets.append(opened.ds if isinstance(opened, Run) else opened)
    names = [path.name for path in places]
    if len({*names}) < len(names):
        names = [str(path) for path in places]
    # what is no UTF-8 cannot be written to a file of numbers
    plain = [name.encode("utf-8", "replace").decode() for name in names]
    made = dict(zip(plain, datasets, strict=True))
    _refuse_repetitions(made)
    return results.joined(made)


def _refuse_repetitions(runs: Mapping[str, xr.Dataset]) -> None:
    """Raise SettingError for copies and repetitions, which are no further evidence."""
    known: dict[str, str] = {}
    for name, dataset in runs.items():
        setup = results.setup(dataset)
        first = known.setdefault(setup, name) if setup else name
        if first != name:
            raise SettingError(
                f"{first} and {name} are one run twice, with the same settings, seed and data: it "
                "would count as two; give one of them"
            )
