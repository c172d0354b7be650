"""The command line: what `gandask --help` lists."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gandask.commands import (
    course_options,
    import_option,
    listing,
    plain_errors,
    remarking,
    showing,
    steering,
    trust_option,
    where_options,
)
from gandask.commands.completing import RUN, sources
from gandask.commands.owners import client, credentials
from gandask.display import say

if TYPE_CHECKING:
    from gandask.presets.source import RunSettings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gandask")
def main() -> None:
    """Train populations of GANs on Dask, watch them, and analyse them.

    Example: gandask train demo --workers 2 --store runs/first
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names and signs that the locale does not know
            stream.reconfigure(errors="backslashreplace")


asking = steering.pause, steering.stop, steering.change
saying = remarking.tag, remarking.note
for command in (listing.list_runs, showing.show, *asking, *saying, client, credentials):
    main.add_command(command)


@main.command()
@click.argument("source", metavar="FILE.toml|PRESET|RUN", shell_complete=sources)
@click.option("--store", type=click.Path(path_type=Path), help="Folder to keep the run in.")
@click.option("--resume", "resumed", is_flag=True, help="Continue the run in --store.")
@course_options
@where_options
@trust_option
@plain_errors
@import_option
def train(
    source: str,
    store: Path | None,
    resumed: bool,
    asynchronous: bool | None,
    checkpoint_every: int | None,
    strict_places: bool,
    max_seconds: float | None,
    patience: int | None,
    trust: bool,
    assignments: tuple[str, ...],
    **where: Any,
) -> None:
    """Train what a TOML file, a preset or a run's folder describes.

    Example: gandask train demo --workers 2 --store runs/first

    Example: gandask train table1-mnist-2x2 --set data_dir=data --set rounds=5 --workers 2

    Example: gandask train table1-mnist-4x4 --cluster slurm --workers 16 --walltime 01:00:00
    --set data_dir=data --set cluster.interface=ib0 --store runs/table1
    """
    from gandask.presets.source import read_run_settings

    settings = read_run_settings(source, assignments, where, trust)
    if resumed and store is None and Path(source).is_dir():
        store = Path(source)
    options: dict[str, Any] = {"max_seconds": max_seconds, "patience": patience}
    options |= {"checkpoint_every": checkpoint_every, "strict_places": strict_places}
    carry_out(settings, store, resumed, synchronous=_synchronous(asynchronous), **options)


def _synchronous(asynchronous: bool | None) -> bool | None:
    return None if asynchronous is None else not asynchronous


@main.command()
@click.argument("run", type=RUN)
@click.option("--force", is_flag=True, help="Though another process seems to write it.")
@course_options
@where_options
@trust_option
@plain_errors
@import_option
@click.pass_context
def resume(
    context: click.Context,
    /,
    run: Path,
    force: bool,
    asynchronous: bool | None,
    checkpoint_every: int | None,
    strict_places: bool,
    max_seconds: float | None,
    patience: int | None,
    trust: bool,
    assignments: tuple[str, ...],
    **where: Any,
) -> None:
    """Continue a run after its last checkpoint, whatever ended it, here or elsewhere.

    One that is paused goes on where it is.

    Example: gandask resume runs/first --workers 4
    """
    from gandask.presets.source import read_run_settings

    if steering.lets_go_on(context, run):
        return
    settings = read_run_settings(str(run), assignments, where, trust)
    options: dict[str, Any] = {"max_seconds": max_seconds, "patience": patience}
    options |= {"checkpoint_every": checkpoint_every, "strict_places": strict_places}
    options |= {"synchronous": _synchronous(asynchronous), "force": force}
    carry_out(settings, run, True, **options)


@main.command()
@click.argument("run", type=RUN)
@click.option("--checkpoint-every", type=click.IntRange(1), help="Rounds.", metavar="N")
@where_options
@trust_option
@plain_errors
@import_option
def extend(
    run: Path, checkpoint_every: int | None, trust: bool, assignments: tuple[str, ...], **where: Any
) -> None:
    """Let a run that has ended go on to more rounds, as if it had been asked for them at first.

    Example: gandask extend runs/first --set rounds=400 --workers 4
    """
    from gandask.presets.source import read_run_settings
    from gandask.store import Store

    Store.open(run)
    settings = read_run_settings(str(run), assignments, where, trust)
    carry_out(settings, run, True, extend=True, checkpoint_every=checkpoint_every)


@main.command()
@where_options
@click.option("--timeout", type=float, default=120.0, show_default=True, help="Seconds to wait.")
@plain_errors
def doctor(assignments: tuple[str, ...], timeout: float, **where: Any) -> None:
    """Check that a cluster can train: submit one worker, and look at what usually goes wrong.

    Example: gandask doctor --cluster slurm --partition gpu
    """
    from gandask.cluster import doctor as examination
    from gandask.core import SettingError
    from gandask.presets.source import read_where

    asked = read_where({}, assignments, where)
    table = asked.pop("cluster") or {"kind": "local"}
    wrong = [key for key, value in asked.items() if value != {}]
    if wrong:
        raise SettingError(f"--set {wrong[0]}=...: expected a setting of the cluster, cluster.KEY")
    findings = examination.examine(table | {"workers": 1}, timeout)
    for finding in findings:
        say(str(finding))
    if not all(finding.well for finding in findings):
        raise SystemExit(1)


@main.command()
@click.argument("run", type=RUN)
@click.option("-n", "count", type=click.IntRange(1), default=64, show_default=True)
@click.option("-o", "output", type=click.Path(path_type=Path), default=Path("samples.png"))
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--slot", help="Whose, such as cell/0; the best by default.")
@trust_option
@plain_errors
@import_option
def sample(run: Path, count: int, output: Path, seed: int, slot: str | None, trust: bool) -> None:
    """Draw samples from a run's best mixture into one picture.

    Example: gandask sample runs/first -n 64 -o grid.png
    """
    from gandask.plots import pictures
    from gandask.runs import open_run

    opened = open_run(run, trust)
    mixture = opened.mixture(slot) if slot else opened.best_mixture()
    pictures.save_png(mixture.sample(count, seed), output, facts=opened.store.description["facts"])
    say(f"{count} samples in {output}")


@main.command()
@click.argument("run", type=RUN)
@click.option(
    "-o", "output", type=click.Path(path_type=Path), default=Path("generator.safetensors")
)
@click.option("--slot", help="Whose, such as cell/0; the best by default.")
@click.option("--classifier", is_flag=True, help="A discriminator that tells classes instead.")
@plain_errors
@import_option
def export(run: Path, output: Path, slot: str | None, classifier: bool) -> None:
    """Write a generator alone: named arrays in one file, for PyTorch without gandask.

    Example: gandask export runs/first -o generator.safetensors
    """
    from gandask.runs import open_run

    say(str(open_run(run).export(output, slot, classifier=classifier)))


@main.command()
@click.argument("run", type=RUN)
@click.option("-o", "output", type=click.Path(path_type=Path), help="Default: RUN/film.gif.")
@plain_errors
@import_option
def film(run: Path, output: Path | None) -> None:
    """Write what every cell, group or label of a run showed, a frame for each round.

    A .gif, .webp or .mp4, by the name.

    Example: gandask film runs/first -o film.gif
    """
    from gandask.runs import open_run

    written = open_run(run).film(output)
    say(f"{written}: {written.stat().st_size / 1e6:.1f} MB")


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, help="Folder.")
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    default=("tvd",),
    show_default=True,
    help="tvd or fid; twice for a front.",
)
@click.option("--size", "sizes", type=int, multiple=True, help="Members, exactly; may be repeated.")
@click.option("--at-most", type=int, help="The most members of an ensemble of any size.")
@click.option("--search", default="evolve", show_default=True, help="evolve, greedy, random, exact")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--samples", type=int, default=10_000, show_default=True, help="In either half.")
@click.option("--least-weight", type=float, default=0.01, show_default=True, help="Of a member.")
@plain_errors
@import_option
def ensemble(
    runs: tuple[Path, ...],
    output: Path,
    objectives: tuple[str, ...],
    sizes: tuple[int, ...],
    **asked: Any,
) -> None:
    """Choose an ensemble of the generators of finished runs, for another objective.

    Example: gandask ensemble runs/a runs/b --objective tvd --at-most 8 -o runs/ensemble
    """
    from gandask import results
    from gandask.repurposing import ensembles
    from gandask.store import Store, refuse_existing

    refuse_existing(Store(output))
    found = ensembles(runs, objective=objectives, size=sizes, **asked)
    say(results.summary(found.ds))
    say(f"kept in {found.save(output)}; next: gandask report {output}")


@main.command()
@click.argument("run", type=RUN)
@click.option("-o", "output", type=click.Path(path_type=Path), help="Default: RUN/report.html.")
@plain_errors
@import_option
def report(run: Path, output: Path | None) -> None:
    """Write a run's report: one HTML file that opens without a network.

    Example: gandask report runs/first
    """
    from gandask.pages import report as reports
    from gandask.runs import open_run

    say(reports.write(open_run(run), output))


@main.command()
@click.argument("runs", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--port", type=click.IntRange(1, 65535), default=5006, show_default=True)
@click.option("--address", default="localhost", show_default=True, help="Others need --login.")
@click.option("--login", type=click.Path(path_type=Path), help='JSON: {"name": "password"}.')
@click.option("--origin", "origins", multiple=True, help="HOST:PORT that browsers use, if other.")
@click.option("--show", is_flag=True, help="Open a browser.")
@plain_errors
@import_option
def dashboard(
    runs: Path,
    port: int,
    address: str,
    login: Path | None,
    origins: tuple[str, ...],
    show: bool,
) -> None:
    """Serve the pages of all runs in a folder: live, speedup, compare.

    Example: gandask dashboard runs

    Example: gandask dashboard runs --address 0.0.0.0 --login users.json
    """
    from gandask.pages import server

    server.serve(runs, port, address, login, origins, show)


@main.command()
@click.option("--store", type=click.Path(path_type=Path), default=Path("runs/demo"))
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@plain_errors
def demo(store: Path, workers: int, seed: int) -> None:
    """Train groups of GANs on a ring of Gaussians beside single GANs: a few minutes on two cores.

    Example: gandask demo --store runs/demo
    """
    from gandask.presets import demo as demonstration

    say(demonstration.run(store, workers, seed=seed))


@main.command()
def presets() -> None:
    """List the settings to start from.

    Example: gandask presets
    """
    from gandask import presets as known

    for name, purpose in known.names().items():
        say(f"{name:20} {purpose}")


def carry_out(settings: RunSettings, store: Path | None, resumed: bool, **options: Any) -> None:
    """Train, and say what came of it."""
    import contextlib

    from gandask import cluster, results
    from gandask.engine import run as engine
    from gandask.store import Store, refuse_existing

    done = resumed and store is not None and Store.open(store).state == "finished"
    done = done and not options.get("extend")
    if not done:
        settings.method.check()  # before any worker starts
    if store and not resumed:
        refuse_existing(Store(store))
    if sys.stderr.isatty() and not done:
        say("preparing; the first time a data set is used takes longest", err=True)
    try:
        starting = cluster.start(**settings.cluster) if settings.cluster and not done else None
        with starting or contextlib.nullcontext() as client:
            if client and client.dashboard_link:
                say(f"Dask's dashboard: {client.dashboard_link}", err=True)
            dataset = engine.run(
                settings.method,
                client=client,
                store=store,
                resume=resumed,
                heartbeat=settings.heartbeat,
                **options,
            )
    except KeyboardInterrupt:
        if store:
            say(f"stopped; continue with: gandask resume {store}", err=True)
        raise
    if done:
        say(f"{store} is finished: nothing is left to do", err=True)
    say(results.summary(dataset))
    if store:
        say(f"kept in {store}; next: gandask report {store}")


if __name__ == "__main__":
    main()
