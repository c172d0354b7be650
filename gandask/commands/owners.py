"""Commands for owners of private data: their client, and what it proves itself with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gandask.commands import plain_errors
from gandask.display import say

if TYPE_CHECKING:
    from gandask.clients.overview import Overview
    from gandask.clients.process import Opening


@click.command()
@click.option("--name", required=True, help="As in its credentials.")
@click.option("--data", required=True, help="What it holds: a folder of images, a zip, or a name.")
@click.option("--data-dir", help="Folder of data sets that are named.")
@click.option("--server", required=True, metavar="HOST:PORT", help="Where the run listens.")
@click.option("--credentials", "pem", type=click.Path(path_type=Path), required=True)
@click.option("--image-size", type=click.IntRange(1), help="To crop and resize images to.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share that is not trained on, but compared with.",
)
@click.option(
    "--private-store",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of its own; by default in the user's data folder.",
)
@click.option(
    "--epsilon-limit",
    type=click.FloatRange(0, min_open=True),
    help="At which it answers no more, whatever the run says.",
)
@click.option("--page", "paged", is_flag=True, help="Show scores and samples on a page here.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Of the page; any by default."
)
@plain_errors
def client(
    name: str,
    data: str,
    data_dir: str | None,
    server: str,
    pem: Path,
    image_size: int | None,
    held_out: float,
    folder: Path | None,
    epsilon_limit: float | None,
    paged: bool,
    port: int,
) -> None:
    """Hold private data, and answer what a run of PrivacyGAN asks of them; they stay here.

    Example: gandask client --name hospital --data /private/images --server server.example:9000
    --credentials hospital.pem
    """
    import signal
    import threading

    import platformdirs

    from gandask.clients import connecting, credentials, process
    from gandask.clients.client import Limits
    from gandask.core import SettingError

    proof = credentials.read(pem)
    if credentials.name_in(proof) != name:
        raise SettingError(
            f"--name {name}: {pem} are the credentials of {credentials.name_in(proof)}; "
            "give that name, or other credentials"
        )
    own = folder or platformdirs.user_data_path("gandask") / "clients" / name
    source = {"name": data, "data_dir": data_dir, "image_size": image_size}
    where, limits, stop = connecting.address(server), Limits(epsilon_limit), threading.Event()
    # what ends a service ends it as Ctrl-C does
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        process.run(source, held_out, where, proof, own, limits, say, stop, _shown(paged, port))
    except KeyboardInterrupt:
        say(f"stopped; started again with the same --private-store ({own}) it goes on", err=True)
    finally:
        signal.signal(signal.SIGTERM, before)
        stop.set()


def _shown(paged: bool, port: int) -> Callable[[Overview, Opening], None]:
    if not paged:
        return lambda overview, opening: None
    from gandask.pages import owner

    return lambda overview, opening: owner.show(overview, opening, port)


@click.command()
@click.option("--for", "name", required=True, help="Whose: a client that holds private data.")
@click.option("--folder", type=click.Path(path_type=Path), help="Of the authority that signs.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Default: NAME.pem.")
@plain_errors
def credentials(name: str, folder: Path | None, output: Path | None) -> None:
    """Write the file by which a client that holds private data proves who it is.

    Example: gandask credentials --for hospital
    """
    from gandask.clients import credentials as known

    issued = known.issue(known.kept_authority(folder), name)
    file = output or Path(f"{name}.pem")
    known.write(issued, file)
    say(f"{file} holds the credentials of {name}: whoever has this file is {name}")
    say("hand it to its owner, encrypted or in person, and delete it here; there:")
    say(
        f"  gandask client --name {name} --data FOLDER --server HOST:PORT --credentials {file.name}"
    )
