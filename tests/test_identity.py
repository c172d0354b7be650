"""A name is no identity: a run goes on with what it began with, wherever that lies."""

import dataclasses
import functools
import itertools
import json
import os
import pickle
import shutil
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from torch import nn

import gandask as gd
from gandask.__main__ import main
from gandask.engine.kept import KeptSession
from gandask.engine.resuming import other_facts
from gandask.methods.testing import Toy, assert_same
from gandask.store import Store
from gandask.store.steering import Command
from gandask.training import losses, networks
from gandask.training.identity import of_losses, of_modules, source
from gandask.training.networks import NETWORKS, Network

seconds = itertools.count(1)


def pictures(path, grey):
    """Write images; each file is younger than those before, however soon it follows them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(grey, 10, (60, 8, 8))
    np.save(path, noise.clip(0, 255).astype(np.uint8))
    os.utime(path, (now := next(seconds), now))


def grid(**changes):
    sizes = dict.fromkeys(("batch_size", "score_samples", "final_samples", "fitness_samples"), 20)
    usual = {"data": "pics.npy", "network": "small_mlp", "shape": (1, 2), "rounds": 2}
    return gd.Grid(**usual | sizes | changes)


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "pics.npy"
    pictures(path, 25)
    return gd.run(grid(data=path))


@pytest.fixture
def begun(cache, tmp_path, monkeypatch):
    """A run of data by a relative name, stopped after its first round."""
    return stopped(grid(), tmp_path, monkeypatch)


def stopped(method, tmp_path, monkeypatch):
    pictures(tmp_path / "here" / "pics.npy", 25)
    monkeypatch.chdir(tmp_path / "here")
    with monkeypatch.context() as patch:
        patch.setattr(KeptSession, "heed", lambda *_: True)
        ds = gd.run(method, store=tmp_path / "run", checkpoint_every=1)
    assert ds.sizes["round"] == 1
    return tmp_path / "run"


def resume(store, method):
    return gd.run(method, store=store, checkpoint_every=1, resume=True)


def test_another_folders_data_of_the_same_name_are_refused(begun, tmp_path, monkeypatch):
    pictures(tmp_path / "there" / "pics.npy", 233)
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(
        gd.StoreError, match=r"data were others when it began \(fingerprint .*; now"
    ):
        resume(begun, grid())


def test_retouched_data_are_noticed_by_who_has_loaded_them(begun, tmp_path):
    method = grid()
    method.check()  # as in a notebook, whose process goes on
    fewer = np.load("pics.npy")[:50]
    np.save("pics.npy", 255 - fewer)
    with pytest.raises(gd.StoreError, match=r"samples 60; now .*samples 50\): put those back"):
        resume(begun, method)


def test_a_worker_looks_again_before_it_says_that_data_are_others(tmp_path):
    pictures(tmp_path / "pics.npy", 25)
    training = grid(data=tmp_path / "pics.npy").training
    old = pickle.dumps(training)
    assert pickle.loads(old).fingerprint == training.data.fingerprint
    pictures(tmp_path / "pics.npy", 233)
    gd.data.load(tmp_path / "pics.npy", fresh=True)
    with pytest.raises(gd.DataError, match="here are other data than where the run was started"):
        _ = pickle.loads(old).data
    # now a process that has loaded others finds in the files what it is asked for
    pictures(tmp_path / "pics.npy", 25)
    assert pickle.loads(old).data.fingerprint == training.data.fingerprint


@pytest.mark.parametrize("where", ["moved", "from another folder"])
def test_a_run_goes_on_with_its_data_wherever_they_are(begun, tmp_path, monkeypatch, whole, where):
    (tmp_path / "else").mkdir()
    if where == "moved":
        shutil.move("pics.npy", tmp_path / "else" / "p.npy")
        with pytest.raises(gd.SettingError, match="--set data=PATH"):
            gd.run(gd.open_run(begun).method, store=begun, resume=True)
        given = ["--set", f"data={tmp_path}/else/p.npy"]
    else:
        monkeypatch.chdir(tmp_path / "else")  # where there is no pics.npy
        given = []
    told = CliRunner().invoke(main, ["resume", str(begun), *given])
    assert told.exit_code == 0, told.output
    ds = gd.open_run(begun).ds
    np.testing.assert_array_equal(ds.final_fid, whole.final_fid)
    np.testing.assert_array_equal(ds.fid, whole.fid)


@pytest.mark.parametrize("command", ["show", "report", "sample"])
def test_a_run_is_read_where_its_data_are_not(begun, tmp_path, command):
    (tmp_path / "here" / "pics.npy").unlink()
    options = {"report": ["-o", "x.html"], "sample": ["-o", "x.png"]}.get(command, [])
    told = CliRunner().invoke(main, [command, str(begun), *options])
    assert told.exit_code == 0, told.output


def test_a_finished_run_is_given_where_its_data_are_not(cache, tmp_path, monkeypatch):
    pictures(tmp_path / "pics.npy", 25)
    method = grid(data=tmp_path / "pics.npy")
    ds = gd.run(method, store=tmp_path / "run")
    (tmp_path / "pics.npy").unlink()
    assert_same(resume(tmp_path / "run", method), ds)


def test_a_run_that_was_changed_differs_in_what_can_change_alone(begun):
    kept = Store.open(begun)
    kept.claim()
    kept.change(dataclasses.replace(gd.open_run(begun).method, seed=2))
    kept.describe("stopped", 1)
    with pytest.raises(gd.StoreError, match=r"seed=2: the run in .* began with 1, which cannot"):
        resume(begun, grid())


def generator(shape, latent, classes, activation):
    return nn.Sequential(nn.Linear(latent, 64), nn.Tanh(), nn.Unflatten(1, shape))


def bolder(shape, latent, classes, activation):
    return nn.Sequential(nn.Linear(latent, 64), nn.Hardtanh(), nn.Unflatten(1, shape))


def discriminator(shape, classes, activation):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setitem(NETWORKS, "mine", Network(generator, discriminator, latent=4))
    return grid(network="mine")


def test_one_method_trains_what_its_names_mean_when_a_run_begins(own, tmp_path, monkeypatch):
    pictures(tmp_path / "pics.npy", 25)
    monkeypatch.chdir(tmp_path)
    first = gd.run(own)
    monkeypatch.setitem(NETWORKS, "mine", Network(bolder, discriminator, latent=4))
    second, anew = gd.run(own), gd.run(dataclasses.replace(own))
    assert first.networks_digest != second.networks_digest
    assert_same(second, anew)


def test_other_networks_of_the_same_name_are_refused_and_told(own, tmp_path, monkeypatch):
    begun = stopped(own, tmp_path, monkeypatch)
    monkeypatch.setitem(NETWORKS, "mine", Network(bolder, discriminator, latent=4))
    with pytest.raises(gd.StoreError, match="networks were others when it began"):
        resume(begun, own)
    with pytest.warns(UserWarning, match=r"networks of these names are other ones"):
        gd.open_run(begun).best_mixture().sample(2)
    monkeypatch.setitem(NETWORKS, "mine", Network(generator, discriminator, latent=4))
    with warnings.catch_warnings(action="error"):
        gd.open_run(begun).best_mixture().sample(2)
    resume(begun, own)


def test_who_steers_changes_no_networks(own, tmp_path, monkeypatch):
    pictures(tmp_path / "pics.npy", 25)
    monkeypatch.chdir(tmp_path)
    rest = KeptSession.rest

    def ask(self, last):
        if self.view.round == 1 and not last:
            monkeypatch.setitem(NETWORKS, "mine", Network(bolder, discriminator, latent=4))
            self.store.ask(Command("change", {"mutation_scale": 0.1}))
        rest(self, last)

    longer = dataclasses.replace(own, rounds=3)
    expected = gd.run(longer)
    monkeypatch.setattr(KeptSession, "rest", ask)
    ds = gd.run(longer, store=tmp_path / "run")
    details = ds.event_detail.values[ds.event_kind.values == "refused"].tolist()
    assert {detail.partition(" (")[0] for detail in details} == {
        "networks were others when it began"
    }
    np.testing.assert_array_equal(ds.fid, expected.fid)


def test_a_run_whose_data_moved_is_steered_and_goes_on(begun, tmp_path):
    shutil.move("pics.npy", tmp_path / "p.npy")
    kept = Store.open(begun)
    kept.claim()
    moved = {"data": str(tmp_path / "p.npy"), "mutation_scale_schedule": {"2": 0.1}}
    kept.change(dataclasses.replace(gd.open_run(begun).method, **moved))
    kept.describe("stopped", 1)
    kept.release()
    assert resume(begun, grid(data=tmp_path / "p.npy")).sizes["round"] == 2


def test_other_losses_of_the_same_name_are_refused(tmp_path, monkeypatch):
    begun = stopped(grid(), tmp_path, monkeypatch)
    monkeypatch.setitem(losses.LOSSES, "bce", dataclasses.replace(losses.LOSSES["bce"], clip=0.1))
    with pytest.raises(gd.StoreError, match="losses were others when it began"):
        resume(begun, grid())


def test_networks_to_start_from_count_until_there_is_a_checkpoint(begun, tmp_path, monkeypatch):
    (tmp_path / "second").mkdir()
    method = grid(init=begun)
    again = stopped(method, tmp_path / "second", monkeypatch)
    monkeypatch.chdir(tmp_path / "here")
    resume(begun, grid())  # whose last checkpoint holds others
    facts = gd.open_run(again).store.description["facts"]
    now = method.resolved().identity()
    assert other_facts(facts, now, begun=False).startswith("networks to start from were others")
    monkeypatch.chdir(tmp_path / "second" / "here")
    resume(again, method)


class Own(nn.Module):
    def forward(self, x):
        return x


class Callable:
    def __call__(self, fake):
        return -fake.mean()


def held(factor):
    def double(fake):
        return factor * double if fake is None else fake

    return double


@pytest.mark.parametrize(
    ("thing", "part"),
    [
        (Own, "return x"),
        (Callable(), "fake.mean()"),
        (networks.mlp_generator, "gandask.training.networks.mlp_generator"),
        (functools.partial(generator, shape=[Own, {"a": Callable()}]), "(shape=[Own"),
        (held(2), "factor=2)"),
    ],
)
def test_source_is_that_of_users_code_and_the_name_of_ours(thing, part):
    assert part in source(thing)
    assert " at 0x" not in source(thing)


SLOPE = 0.2


def sloped(shape, latent, classes, activation, width=64):
    return nn.Sequential(nn.Linear(latent, width), nn.LeakyReLU(SLOPE), helped(shape))


def helped(shape):
    return nn.Unflatten(1, shape)


class Scaled(Own):
    factor = 2.0

    @staticmethod
    def scale():
        return SLOPE


def altered(monkeypatch, what):
    if what == "a constant of the module":
        monkeypatch.setitem(globals(), "SLOPE", -3.0)
    elif what == "a default":
        monkeypatch.setattr(sloped, "__defaults__", (32,))
    elif what == "a helper":
        monkeypatch.setitem(globals(), "helped", held)
    elif what == "an attribute of a class":
        monkeypatch.setattr(Scaled, "factor", 3.0)
    elif what == "a static method":
        monkeypatch.setattr(Scaled, "scale", staticmethod(helped))
    elif what == "what a class stands on":
        monkeypatch.setattr(Own, "forward", lambda self, x: -x)


@pytest.mark.parametrize(
    ("thing", "what"),
    [
        (sloped, "a constant of the module"),
        (sloped, "a default"),
        (sloped, "a helper"),
        (Scaled, "an attribute of a class"),
        (Scaled, "a static method"),
        (Scaled, "what a class stands on"),
    ],
)
def test_what_code_stands_on_counts(monkeypatch, thing, what):
    before = source(thing)
    altered(monkeypatch, what)
    assert source(thing) != before


def test_what_layers_tell_of_themselves_counts():
    layers = [nn.LeakyReLU(slope) for slope in (0.2, 0.3)]
    assert of_modules([], layers[:1]) != of_modules([], layers[1:])


def test_what_a_function_holds_and_does_counts():
    def typed(text):
        made = {}
        exec(text, made)  # of this, there is no source
        return source(made["f"])

    assert typed("def f(x): return x") != typed("def f(x): return -x")
    assert source(held(2)) != source(held(3))
    told = {of_losses([dataclasses.replace(losses.LOSSES["bce"], clip=c)]) for c in (None, 1.0)}
    assert len(told) == 2


def test_other_versions_are_told(cache, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(KeptSession, "heed", lambda *_: True)
        gd.run(Toy(rounds=3), store=tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    told = json.loads(file.read_text())
    told["facts"] |= {"torch_version": "1.0", "processor": "an abacus"}
    file.write_text(json.dumps(told))
    ds = resume(tmp_path / "run", Toy(rounds=3))
    details = ds.event_detail.values[ds.event_kind.values == "versions"].tolist()
    assert len(details) == 1
    assert "begun with 1.0" in details[0] and "begun with an abacus" in details[0]
