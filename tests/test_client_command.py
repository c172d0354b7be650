"""`gandask client`: the owner's process, as deployed, beside a run that waits for it."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from browser import Tab, free_port, served
from click.testing import CliRunner
from conftest import until
from opacus.accountants import RDPAccountant
from PIL import Image

import gandask as gd
from gandask import config, data
from gandask.__main__ import main
from gandask.clients import credentials, process
from gandask.clients.client import Limits
from gandask.clients.held import Held
from gandask.clients.keeping import PrivateStore
from gandask.clients.messages import unpacked
from gandask.methods.testing import Toy

NAMES = ("hospital", "clinic")
SMALL = {
    "data": "digits",
    "base": "small_mlp",
    "alpha": 1.0,
    "iterations": 12,
    "batch_size": 32,
    "score_every": 6,
    "score_samples": 100,
    "final_samples": 200,
    "audit_samples": 50,
    "features": "coordinates",
    "learning_rate": 1e-3,
}


def folder_of_images(path, begin, count=150):
    path.mkdir(parents=True)
    digits = data.load("digits")
    images = (digits.batch(np.arange(begin, begin + count)).numpy() + 1) * 127.5
    for index, image in enumerate(images.round().astype(np.uint8)):
        Image.fromarray(image[0]).save(path / f"{index:04}.png")
    return path


@pytest.fixture
def deployed(tmp_path):
    return Deployed(tmp_path)


class Deployed:
    """Both sides on this machine, as they are before anything starts: keys, data, a port."""

    def __init__(self, base):
        self.base, self.authority = base, base / "authority"
        self.server = f"localhost:{free_port()}"
        by = credentials.kept_authority(self.authority)
        for index, name in enumerate(NAMES):
            credentials.write(credentials.issue(by, name), base / f"{name}.pem")
            folder_of_images(base / name / "images" / "all", 200 * index)

    def method(self, **changes):
        told = {"clients": [*NAMES], "server": self.server, "authority": str(self.authority)}
        return gd.PrivacyGAN(**SMALL | told | changes)

    def arguments(self, name, *more):
        told = {
            "name": name,
            "data": self.base / name / "images",
            "server": self.server,
            "credentials": self.base / f"{name}.pem",
            "private-store": self.base / name / "own",
        }
        return ["client", *(f"--{key}={value}" for key, value in told.items()), *more]

    def start(self, name, *more):
        command = [sys.executable, "-m", "gandask", *self.arguments(name, *more)]
        log = (self.base / f"{name}.log").open("ab")
        return subprocess.Popen(command, stdout=log, stderr=log)

    def said(self, name):
        path = self.base / f"{name}.log"
        return path.read_text() if path.exists() else ""


class Beside(threading.Thread):
    """A run in a thread, so that a test can do things beside it."""

    def __init__(self, *given, **options):
        super().__init__(daemon=True)
        self.given, self.options, self.came = given, options, None
        self.start()

    def run(self):
        try:
            self.came = gd.run(*self.given, **self.options)
        except BaseException as error:
            self.came = error

    def result(self, seconds=240):
        self.join(seconds)
        assert not self.is_alive(), "the run goes on and on"
        if isinstance(self.came, BaseException):
            raise self.came
        return self.came


def refused(*arguments):
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 1, result.output
    return result.output


def test_owners_answer_a_run(deployed):
    stop, said = threading.Event(), {name: [] for name in NAMES}
    owners = []
    for name in NAMES:
        source = {"name": str(deployed.base / name / "images")}
        pem, own = (deployed.base / f"{name}.pem").read_text(), deployed.base / name / "own"
        port = int(deployed.server.rpartition(":")[2])
        given = (source, 0.2, ("localhost", port), pem, own, Limits(), said[name].append, stop)
        owners.append(threading.Thread(target=process.run, args=given))
        owners[-1].start()
    try:
        ds = Beside(deployed.method()).result(60)
    finally:
        stop.set()
        for owner in owners:
            owner.join(30)
    assert ds.client.values.tolist() == [*NAMES]
    assert np.isfinite(ds.final_fid_local).all() and np.isfinite(ds.discriminator_loss).all()
    assert {"client joined"} <= set(ds.event_kind.values.tolist())
    for name in NAMES:
        assert any("120 samples to train on, 30 kept apart" in line for line in said[name])
        assert re.fullmatch(r"\d+ requests answered, up to round 13", said[name][-1])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "clinic"}, "are the credentials of hospital"),
        ({"server": "nowhere"}, "expected HOST:PORT"),
        ({"credentials": "none.pem"}, "none.pem"),
        ({"private-store": "run/own"}, "lies within a run"),
    ],
)
def test_an_owner_is_refused_at_once(tmp_path, monkeypatch, changed, told):
    monkeypatch.chdir(tmp_path)
    gd.run(Toy(rounds=1), store="run")
    by = credentials.kept_authority(tmp_path / "authority")
    credentials.write(credentials.issue(by, "hospital"), tmp_path / "hospital.pem")
    given = {
        "name": "hospital",
        "data": "digits",
        "server": "localhost:1",
        "credentials": "hospital.pem",
        "private-store": "own",
    }
    assert told in refused("client", *(f"--{key}={of}" for key, of in (given | changed).items()))


def test_no_run_is_kept_inside_a_clients_folder(tmp_path):
    with process.PrivateStore(tmp_path / "own"):
        pass
    with pytest.raises(gd.SettingError, match="keeps what is private"):
        gd.run(Toy(), store=tmp_path / "own" / "run")
    assert not (tmp_path / "own" / "run").exists()


def ended(*processes):
    for one in processes:
        one.send_signal(signal.SIGTERM)
    return [one.wait(60) for one in processes]


@pytest.mark.deep
@pytest.mark.parametrize("synchronous", [True, False])
def test_a_killed_owner_goes_on(deployed, clients, synchronous, assert_same):
    options = {"client": clients[2], "synchronous": synchronous, "checkpoint_every": 4}
    late = Beside(deployed.method(iterations=40), store=deployed.base / "late", **options)
    hospital = deployed.start("hospital")
    store = deployed.base / "late"
    until(lambda: (store / "events.jsonl").is_file(), "the run has begun")
    waiting = "clinic: it is asked, and not connected"
    until(lambda: waiting in (store / "events.jsonl").read_text(), "it says for whom it waits")
    clinic = deployed.start("clinic")
    answers = deployed.base / "clinic" / "own" / "answers"
    until(lambda: answers.is_dir() and len([*answers.iterdir()]) > 5, "a few rounds are done")
    clinic.kill()
    clinic.wait()
    clinic = deployed.start("clinic")
    disturbed = late.result()
    assert ended(hospital, clinic) == [0, 0]
    assert "client left" in disturbed.event_kind.values.tolist()
    for name in NAMES:
        assert "holds 120 samples to train on, 30 kept apart" in deployed.said(name)
        assert "requests answered" in deployed.said(name)
        assert "stopped; started again" in deployed.said(name)
        assert "Traceback" not in deployed.said(name)
    owners = [deployed.start(name) for name in NAMES]  # with the same secret: the same data
    plain = Beside(deployed.method(iterations=40), **options).result()
    ended(*owners)
    if synchronous:
        assert_same(disturbed, plain)
    for name in ("final_fid", "final_fid_local", "final_audit_auc", "final_memorised"):
        np.testing.assert_array_equal(disturbed[name], plain[name])


# ---- an audit with privacy, and what crosses the wire


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.deep
@pytest.mark.parametrize("reports", [False, True])
def test_an_audit_of_owners_with_privacy_spends_nothing_and_stays_there(deployed, reports):
    store, own = deployed.base / "run", deployed.base / "hospital" / "own"
    owner = deployed.start("hospital")
    try:
        told = {"clients": ["hospital"], "iterations": 4, "report_private_scores": reports}
        method = deployed.method(**told, privacy=gd.DPSGD(noise=2.0))
        ds = Beside(method, store=store).result()
        spent = (own / "ledger.jsonl").read_bytes()
        found = gd.audit(store)
    finally:
        ended(owner)
    assert (own / "ledger.jsonl").read_bytes() == spent and spent.count(b"\n") == 4
    audits = [line for line in lines_of(own / "scores.jsonl") if "auc" in line]
    assert len(audits) == 2 and audits[0] == audits[1]  # the owner sees them in any case
    assert found.attrs["epsilon_covers_scores"] == ds.attrs["epsilon_covers_scores"] != reports
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name], ds[f"final_{name}"])
    assert found.audit_auc.notnull().all() == reports
    assert found.audit_auc.isnull().all() != reports
    if reports:
        assert found.audit_auc.values[0].tolist() == [*audits[0]["auc"].values()]


def private(own, source):
    """All of a client that must not leave, as bytes, by what it is."""
    secret = (own / "secret").read_bytes()
    held = Held.own(source, 0.2, process.secret_seed(secret))
    labels = [90, 60]
    found = {"secret": secret, "secret in digits": secret.hex().encode()}
    found |= {"path": str(source["name"]).encode(), "labels": str(labels).encode()}
    for number in (np.int64, np.int32, np.float32):
        found[f"labels {number.__name__}"] = np.array(labels, number).tobytes()
        for kind, indices in (("member", held.members), ("held-out", held.apart)):
            found[f"{kind}s {number.__name__}"] = indices[:8].astype(number).tobytes()
    for place, row in enumerate(held.data.batch(np.arange(len(held.data))).numpy()):
        found[f"image {place}"] = row.tobytes()
        found[f"image {place} in bytes"] = np.rint((row + 1) * 127.5).astype(np.uint8).tobytes()
    for path in (own / "states").iterdir():
        for name, array in safetensors.numpy.load_file(path).items():
            if name not in ("frame", "kept") and array.size >= 8 and array.any():
                found[f"state {path.name[:40]} {name}"] = array.tobytes()
    return found


@pytest.mark.deep
@pytest.mark.parametrize("privacy", [None, gd.DPSGD(noise=2.0)], ids=["plain", "noised"])
def test_nothing_private_crosses_the_wire(deployed, privacy):
    base, tap = deployed.base, deployed.base / "tap"
    images, own = base / "hospital" / "images", base / "hospital" / "own"
    tap.mkdir()
    (images / "other").mkdir()
    for path in sorted((images / "all").iterdir())[:60]:
        path.rename(images / "other" / path.name)  # two classes: how many of each is private
    script = str(Path(__file__).with_name("tapped.py"))
    owner = subprocess.Popen([sys.executable, script, str(tap), *deployed.arguments("hospital")])
    try:
        method = deployed.method(clients=["hospital"], iterations=4, privacy=privacy)
        Beside(method, store=base / "run").result()
    finally:
        ended(owner)
    wire = (tap / "sent").read_bytes() + (tap / "received").read_bytes()
    kept = b"".join(path.read_bytes() for path in (base / "run").rglob("*") if path.is_file())
    needles = private(own, {"name": str(images)})
    gradients = (tap / "gradients").read_bytes()
    needles |= {f"gradient {at}": gradients[at : at + 64] for at in range(0, len(gradients), 4096)}
    assert len([name for name in needles if name.startswith("state")]) > 10
    assert len([name for name in needles if name.startswith("gradient")]) > 10
    needles = {name: needle for name, needle in needles.items() if needle.strip(b"\0")}
    assert [name for name, needle in needles.items() if needle in wire + kept] == []
    # what may cross is found there: the tap hears it all
    answers = [unpacked(path.read_bytes()) for path in (own / "answers").iterdir()]
    assert len(answers) == 4
    assert all(answer.arrays["slope"].tobytes() in wire for answer in answers)
    for word in (b"GET /client", b"make", b"train", b"measure", b"audit"):
        assert word in wire


# ---- epsilon, whoever is killed

MOMENTS = int(os.environ.get("GANDASK_MOMENTS", "1"))  # of each of both sides
EVERY = 3  # rounds between checkpoints
NOISED = {
    "clients": ["hospital"],
    "iterations": 10,
    "privacy": gd.DPSGD(noise=2.0, clip=1.0),
    "report_private_scores": True,  # so that they can be compared
}


class Noised(Deployed):
    """A hospital and a server, as processes that may be killed at an operation on their files."""

    def begin(self, folder):
        """Begin in a folder: nothing is spent, and the secret is always the same."""
        self.run, self.own = folder / "run", folder / "own"
        folder.mkdir()
        (folder / "run.toml").write_text(config.to_toml(self.method(**NOISED)))
        PrivateStore(self.own, bytes(range(32))).close()

    def owner(self, moment):
        return self.process(
            moment, self.own, *self.arguments("hospital", f"--private-store={self.own}")
        )

    def server_side(self, moment, resume=False):
        told = ["resume", self.run] if resume else ["train", self.run.parent / "run.toml"]
        told += [] if resume else [f"--store={self.run}"]
        return self.process(moment, self.run, *told, f"--checkpoint-every={EVERY}")

    def process(self, moment, folder, *told):
        script = Path(__file__).with_name("killed_at.py")
        command = [sys.executable, script, moment, folder, *told]
        with Path(f"{folder}.log").open("ab") as log:
            return subprocess.Popen([*map(str, command)], stdout=log, stderr=log)

    def operations(self, folder):
        return Path(f"{folder}.operations").read_text().splitlines()


@pytest.fixture(scope="module")
def noised(tmp_path_factory):
    """Give what an undisturbed run came to, and what both sides did with their files."""
    made = Noised(tmp_path_factory.mktemp("noised"))
    made.begin(made.base / "undisturbed")
    owner = made.owner(0)
    try:
        assert made.server_side(0).wait(240) == 0
    finally:
        ended(owner)
    made.whole = gd.open_run(made.run).ds
    made.done = {"owner": made.operations(made.own), "server": made.operations(made.run)}
    return made


def first(operations, name):
    """Count the operations up to the one that puts a file in its place."""
    return next(i for i, told in enumerate(operations, 1) if "rename" in told and name in told)


def moment_of(operations, seed, least):
    """Choose an operation, in a part of its own for each seed."""
    part = (seed + random.Random(seed).random()) / MOMENTS
    return least + 1 + int(part * (len(operations) - least))


def assert_charged(ds, own):
    """Assert that every step was charged once, and that epsilon is the accountant's of these."""
    charges = [json.loads(line) for line in (own / "ledger.jsonl").read_text().splitlines()]
    assert [one["round"] for one in charges] == [*range(1, NOISED["iterations"] + 1)]
    accountant, counted = RDPAccountant(), []
    for one in charges:
        accountant.step(noise_multiplier=one["noise"], sample_rate=one["rate"])
        counted.append(accountant.get_epsilon(1e-5))
    np.testing.assert_allclose(ds.epsilon.values[:, 0], counted, rtol=1e-12)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(MOMENTS))
@pytest.mark.parametrize("killed", ["owner", "server"])
def test_what_is_spent_is_the_same_whoever_is_killed(killed, seed, noised, assert_same, tmp_path):
    noised.begin(tmp_path / "disturbed")
    operations = noised.done[killed]
    least = first(operations, "/run.json.") if killed == "server" else 0
    moment = moment_of(operations, seed, least)
    owner = noised.owner(moment if killed == "owner" else 0)
    server = noised.server_side(moment if killed == "server" else 0)
    victim = owner if killed == "owner" else server
    try:
        assert victim.wait(240) == -signal.SIGKILL, "it was killed"
        if killed == "owner":
            owner = noised.owner(0)
        else:
            server = noised.server_side(0, resume=True)
        assert server.wait(240) == 0
    finally:
        for one in (owner, server):
            one.kill()
            one.wait()
    ds = gd.open_run(noised.run).ds
    assert_same(noised.whole, ds)
    assert_charged(ds, noised.own)


@pytest.mark.deep
def test_others_go_on_when_an_owner_leaves_for_good(deployed, clients):
    store = deployed.base / "run"
    owners = {name: deployed.start(name) for name in NAMES}
    options = {"client": clients[2], "synchronous": False, "checkpoint_every": 1}
    Beside(deployed.method(iterations=40), store=store, **options)
    answers = deployed.base / "clinic" / "own" / "answers"
    until(lambda: answers.is_dir() and len([*answers.iterdir()]) > 2, "a few rounds are done")
    owners["clinic"].kill()
    owners["clinic"].wait()
    run = gd.open_run(store)

    def losses():
        return run.ds.discriminator_loss.sel(client="hospital").notnull().sum()

    until(lambda: losses() == 40, "the other has completed its rounds")
    assert run.ds.discriminator_loss.sel(client="clinic").notnull().sum() < 40
    run.stop()
    ended(owners["hospital"])


@pytest.mark.deep
def test_an_audit_of_a_stored_run_comes_to_the_same(tmp_path):
    given = SMALL | {"clients": 2, "split": "dirichlet:0.5", "local_samples": 150}
    given |= {"private_store": str(tmp_path / "own")}
    ds = gd.run(
        gd.PrivacyGAN(**given | {"alpha": 0.5, "teacher_iterations": 5}), store=tmp_path / "r"
    )
    found = gd.audit(tmp_path / "r")
    assert found.audit_tpr.dims == ("client", "attack", "fpr")
    assert np.isfinite(found.audit_auc).all()
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name], ds[f"final_{name}"])


def test_an_audit_needs_clients_and_a_finished_run(tmp_path):
    gd.run(Toy(rounds=1), store=tmp_path / "toy")
    with pytest.raises(gd.StoreError, match="nothing to audit"):
        gd.audit(tmp_path / "toy")


def test_the_page_shows_samples_beside_the_own(deployed, new_context):
    command = ("gandask", *map(str, deployed.arguments("hospital", "--page")))
    with served(deployed.base, command=command) as address:
        method = deployed.method(clients=["hospital"], epsilon_limit=None)
        Beside(method).result()
        tab = Tab(new_context).open(address)
        tab.see("requests answered, up to round 13")
        tab.see("120 samples to train on, 30 kept apart")
        for words in ("your own", "of your student", "attacker of", "fid_local", "feedback"):
            tab.see(words)
        tab.page.screenshot(path=os.environ.get("SHOT", deployed.base / "page.png"), full_page=True)
        assert tab.wrong == []
