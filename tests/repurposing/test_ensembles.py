"""Ensembles of stored runs: what they are chosen by, what is refused, and how they are kept."""

import json
import logging
import re
import shutil

import holoviews as hv
import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from conftest import tiny

import gandask as gd
from gandask import results
from gandask.__main__ import main
from gandask.core.files import digest
from gandask.methods.ensemble.method import parted, source
from gandask.pages import report
from gandask.repurposing import candidates, choosing
from gandask.results import write
from gandask.scores import features, metrics
from gandask.store import create

SAMPLES = 200
WANTED = {"objective": "tvd", "at_most": 3, "samples": SAMPLES}


@pytest.fixture(scope="module")
def runs(cache, tmp_path_factory):
    """Two runs of two methods on the same data: seven generators."""
    folder = tmp_path_factory.mktemp("runs")
    gd.run(tiny("grid", rounds=1), store=folder / "grid", progress=False)
    gd.run(tiny("mggan"), store=folder / "mggan", progress=False)
    return [folder / "grid", folder / "mggan"]


@pytest.fixture(scope="module")
def found(runs):
    return gd.ensembles(runs, **WANTED | {"size": (1, 2)})


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# ---- what is found


def test_all_generators_of_all_runs_are_candidates(found, runs):
    ds = found.ds
    assert ds["ensemble"].values.tolist() == ["size 1", "size 2", "at most 3"]
    labels = ds["member"].values.tolist()
    assert [label.partition("/")[0] for label in labels] == ["grid"] * 4 + ["mggan"] * 3
    assert ds["members"].values[:2].tolist() == [1, 2]
    assert ds["limit"].values.tolist() == [1, 2, 3]
    np.testing.assert_allclose(ds["weight"].sum("member"), 1)
    assert (ds["gap"] >= 0).all()
    assert (ds["evaluations"] == 10_000).all()


def test_the_same_is_found_again_whatever_was_sampled_before(found, runs, monkeypatch, tmp_path):
    again = gd.ensembles(runs, **WANTED | {"size": (1, 2)})
    xr.testing.assert_identical(again.ds, found.ds)
    monkeypatch.setenv("GANDASK_CACHE", str(tmp_path))
    anew = gd.ensembles([gd.open_run(run) for run in runs], **WANTED | {"size": [1, 2]})
    xr.testing.assert_identical(anew.ds, found.ds)
    other = gd.ensembles(runs, **WANTED | {"size": (1, 2), "search": "random", "seed": 2})
    assert not other.ds["weight"].equals(found.ds["weight"])


def test_each_generator_is_sampled_once_which_is_said(runs, monkeypatch, tmp_path, caplog, said):
    monkeypatch.setenv("GANDASK_CACHE", str(tmp_path))
    with caplog.at_level(logging.WARNING, "gandask"):
        gd.ensembles(runs[:1], **WANTED)
        gd.ensembles(runs, **WANTED)
        gd.ensembles(runs, **WANTED | {"objective": "fid", "seed": 3})
    told = [line for line in said() if "sampled" in line]
    assert len(told) == 2
    assert told[0].startswith("4 of 4 generators are sampled, 400 samples each")
    assert told[1].startswith("3 of 7 generators are sampled")


def test_ensembles_are_chosen_by_one_half_and_judged_by_the_other(found, runs):
    """From the samples themselves, by the metrics that score any run."""
    sources = candidates.sources([gd.open_run(run) for run in runs])
    every = candidates.candidates(sources)
    scale = candidates.Scale(sources)
    statistics = [
        [
            metrics.merge(
                [
                    scale.extractor.statistics(iter([batch]))
                    for batch in candidates.drawn(
                        one.source.generators.generate, one.own, one.state, SAMPLES, half
                    )
                ]
            )
            for one in every
        ]
        for half in range(2)
    ]
    for name in ("tvd", "fid"):
        for half, variable in enumerate((name, f"final_{name}")):
            expected = [
                metrics.METRICS[name].compute(
                    scale.real[half], metrics.merge(statistics[half], list(weights))
                )
                for weights in found.ds["weight"].values
            ]
            np.testing.assert_allclose(
                found.ds[variable].values.ravel(), expected, rtol=0, atol=1e-9
            )
    assert not np.allclose(found.ds["tvd"], found.ds["final_tvd"])


def test_the_halves_of_generated_samples_have_none_in_common(runs):
    (source_,) = candidates.sources([gd.open_run(runs[0])])
    one = candidates.candidates([source_])[0]
    first, second = (
        torch.cat([*candidates.drawn(source_.generators.generate, one.own, one.state, 700, half)])
        for half in range(2)
    )
    assert first.shape == second.shape == (700, 2)
    assert torch.cdist(first, second).min() > 0
    assert len(torch.unique(first, dim=0)) == 700


def test_the_halves_of_the_data_are_all_of_it_and_share_nothing(cache):
    data = gd.data.load("ring8")
    first, second = (half.statistics for half in features.halves(data))
    whole = features.reference(data).statistics
    assert first.count + second.count == whole.count == len(data)
    assert abs(first.count - second.count) <= 1
    np.testing.assert_allclose(first.feature_sum + second.feature_sum, whole.feature_sum)
    np.testing.assert_allclose(first.class_counts + second.class_counts, whole.class_counts)


def test_the_best_is_told_by_the_half_that_chooses(found, monkeypatch):
    ds = found.ds.copy(deep=True)
    ds["tvd"][:] = [[0.3, 0.1, 0.2]]
    ds["final_tvd"][:] = [0.1, 0.2, 0.3]
    monkeypatch.setitem(found.__dict__, "ds", ds)
    assert found.best().weights == found.mixture("size 2").weights
    assert results.best(ds)["ensemble"].item() == "size 2"


def test_what_is_best_elsewhere_is_the_same(found):
    best = found.ds["ensemble"].values[found.ds["tvd"].values.argmin()]
    assert results.best(found.ds)["ensemble"].item() == best
    assert found.view.best == f"ensemble/{found.method.found.index(best)}"
    # whatever the attribute names, there is a best
    for by in ("weight", "nothing", "member_tvd"):
        assert results.best(found.ds.assign_attrs(best_by=by)) is not None


def test_two_objectives_give_a_front(runs):
    both = gd.ensembles(runs, **WANTED | {"objective": ("tvd", "fid")})
    tvd, fid = both.ds["tvd"].values[0], both.ds["fid"].values[0]
    assert (np.diff(tvd) > 0).all()
    assert (np.diff(fid) < 0).all()
    assert both.best("tvd").weights == both.mixture(both.method.found[0]).weights
    assert both.best("fid").weights == both.mixture(both.method.found[-1]).weights
    assert (both.ds["gap"] >= 0).all()


def test_of_fid_alone_no_optimum_is_known(runs):
    ds = gd.ensembles(runs, **WANTED | {"objective": "fid"}).ds
    assert ds["optimum"].isnull().all()
    assert ds["gap"].isnull().all()


def test_a_generator_that_diverged_is_left_out(runs, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("GANDASK_CACHE", str(tmp_path))
    measured = candidates.Scale.measured

    def diverged(self, candidate, samples):
        sums = measured(self, candidate, samples)
        return sums * np.nan if candidate.label.startswith("grid/cell/0") else sums

    monkeypatch.setattr(candidates.Scale, "measured", diverged)
    ds = gd.ensembles(runs, **WANTED).ds
    assert ds.sizes["member"] == 6
    assert "left out, as their samples are no finite numbers: grid/cell/0/" in caplog.text
    with pytest.raises(gd.SettingError, match="there are 6 generators"):
        gd.ensembles(runs, **WANTED | {"at_most": 7})


# ---- kept


def test_it_is_kept_with_its_members_and_the_runs_may_go(runs, tmp_path):
    copies = [shutil.copytree(run, tmp_path / run.name) for run in runs]
    made = gd.ensembles(copies, **WANTED | {"size": 2})
    drawn = {name: made.mixture(name).sample(50, seed=3) for name in made.method.found}
    path = made.save(tmp_path / "kept")
    for copy in copies:
        shutil.rmtree(copy)
    run = gd.open_run(path)
    assert (run.state, run.method_name) == ("finished", "ensemble")
    xr.testing.assert_identical(run.ds, made.ds)
    for slot, label in zip(run.layout.slots, made.method.found, strict=True):
        assert torch.equal(run.mixture(slot).sample(50, seed=3), drawn[label])
    assert torch.equal(run.best_mixture().sample(9, 1), made.best().sample(9, 1))
    shutil.rmtree(path / "dataset.zarr")
    xr.testing.assert_equal(run.ds, made.ds)


def test_a_kept_ensemble_gives_candidates_too(found, runs, tmp_path):
    kept = found.save(tmp_path / "kept")
    again = gd.ensembles([kept, runs[0]], **WANTED)
    label = again.ds["member"].values[0]
    assert label.startswith("kept/source/")
    assert again.mixture("at most 3").sample(4, seed=0).shape == (4, 2)
    path = again.save(tmp_path / "again")
    assert torch.equal(
        gd.open_run(path).best_mixture().sample(8, seed=0), again.best().sample(8, seed=0)
    )


def test_members_of_one_name_draw_apart(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    both = gd.ensembles([runs[0], copy], **WANTED)
    states = {one.name: one.state for one in candidates.candidates(
        candidates.sources([gd.open_run(runs[0]), gd.open_run(copy)])
    )}  # fmt: skip
    names = [name for name in states if parted(name)[1] == parted(next(iter(states)))[1]]
    first, second = (both.method.generate(n, states[n], 5, 0, both.facts) for n in names)
    assert len(names) == 2
    assert not np.array_equal(first, second)


def test_nothing_is_kept_over_what_is_there(found, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine").touch()
    with pytest.raises(gd.StoreError, match="exists already"):
        found.save(tmp_path / "kept")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("[]", "IndexError"),
        ("{", "JSONDecodeError|Expecting"),
        (json.dumps([{"settings": "method = 'other'", "facts": {}}] * 2), "no such method"),
        (json.dumps([{"settings": "x = [", "facts": {}}] * 2), "TOML"),
        (json.dumps([{"settings": 3, "facts": {}}] * 2), "AttributeError"),
    ],
)
def test_what_a_stranger_says_of_members_is_refused(found, tmp_path, told, said):
    kept = found.save(tmp_path / "kept")
    file = kept / "run.json"
    described = json.loads(file.read_text())
    described["facts"]["sources"] = told
    file.write_text(json.dumps(described))
    with pytest.raises(gd.StoreError, match=said):
        gd.open_run(kept).best_mixture().sample(4)
    with pytest.raises(gd.StoreError, match="source/NUMBER/GENERATOR"):
        parted("cell/0/generator/1")
    with pytest.raises(gd.StoreError, match="KeyError"):
        source({}, 0)


def test_no_function_that_a_run_names_is_imported(tmp_path, monkeypatch, runs):
    (tmp_path / "own.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    text = (copy / "config.toml").read_text()
    text = re.sub('neighbourhood = ".*"', 'neighbourhood = "own:function"', text)
    assert "own:function" in text
    (copy / "config.toml").write_text(text)
    described = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(described | {"settings": digest(text)}))
    kept = gd.ensembles([copy, runs[1]], **WANTED).save(tmp_path / "kept")
    gd.open_run(kept).best_mixture().sample(4)
    assert not (tmp_path / "imported").exists()


# ---- refused


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"at_most": None}, "expected size=K.* or at_most=K"),
        ({"at_most": 8}, "at_most=8: there are 7 generators"),
        ({"size": 8}, "size=8: there are 7 generators"),
        ({"size": 0}, "size=.*at least 1"),
        ({"at_most": 0}, "at_most=0.*at least 1"),
        ({"size": (2, 2)}, "sizes that differ"),
        ({"least_weight": 0.5}, "at_most=3: so many members of least_weight=0.5 weigh more"),
        ({"least_weight": 0.0}, "least_weight=0.0.*more than 0"),
        ({"samples": 1}, "samples=1.*at least 2"),
        ({"objective": "is"}, "objective=.*known are|did you mean"),
        ({"objective": ()}, "objective=.*expected one"),
        ({"objective": ("tvd", "tvd")}, "two that differ"),
        ({"search": "evolv"}, "did you mean 'evolve'"),
        ({"seed": -1}, "seed=-1"),
        ({"search": "exact", "objective": "fid"}, "'evolve' or 'greedy' or 'random'"),
        ({"search": "greedy", "objective": ("tvd", "fid")}, "by 'evolve' alone"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sampled(runs, given, said, monkeypatch):
    monkeypatch.setattr(choosing, "Scale", None)  # nothing is loaded
    with pytest.raises(gd.SettingError, match=said):
        gd.ensembles(runs, **WANTED | given)


def test_runs_that_do_not_go_together_are_named(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "Scale", None)
    gd.run(tiny("grid", rounds=1, data="grid25"), store=tmp_path / "other", progress=False)
    with pytest.raises(gd.SettingError, match=r"other and .*grid differ in the data"):
        gd.ensembles([runs[0], tmp_path / "other"], **WANTED)
    gd.run(tiny("toy"), store=tmp_path / "toy", progress=False)
    with pytest.raises(gd.SettingError, match=r"toy does not say what the data was \(fingerprint"):
        gd.ensembles([tmp_path / "toy"], **WANTED)
    features_other = shutil.copytree(runs[0], tmp_path / "features")
    described = json.loads((features_other / "run.json").read_text())
    described["facts"]["extractor"] = "pixels"
    (features_other / "run.json").write_text(json.dumps(described))
    with pytest.raises(gd.SettingError, match=r"features and .* differ in what samples are scored"):
        gd.ensembles([runs[0], features_other], **WANTED)
    with pytest.raises(gd.SettingError, match="is given twice"):
        gd.ensembles([runs[0], runs[0]], **WANTED)
    with pytest.raises(gd.SettingError, match=r"runs=\[\]"):
        gd.ensembles([], **WANTED)
    for given in (runs[0], None, 3):
        with pytest.raises(gd.SettingError, match="expected a list of runs"):
            gd.ensembles(given, **WANTED)


def test_a_run_without_a_checkpoint_is_refused(tmp_path, runs):
    method = tiny("grid").resolved()
    create(tmp_path / "begun", method, method.prepare()).release()
    with pytest.raises(gd.StoreError, match="begun has no checkpoint yet"):
        gd.ensembles([runs[0], tmp_path / "begun"], **WANTED)


def test_data_that_are_others_now_are_refused(runs, tmp_path):
    copies = [shutil.copytree(run, tmp_path / run.name) for run in runs]
    for copy in copies:
        described = json.loads((copy / "run.json").read_text())
        described["facts"]["fingerprint"] = "ring8-of-another-time"
        (copy / "run.json").write_text(json.dumps(described))
    with pytest.raises(gd.SettingError, match="the data is another one here"):
        gd.ensembles(copies, **WANTED)


def test_an_ensemble_is_not_trained(found, tmp_path):
    for refused in (lambda: gd.run(found.method), found.method.start):
        with pytest.raises(gd.SettingError, match="an ensemble is chosen, not trained"):
            refused()
    kept = found.save(tmp_path / "kept")
    told = call("train", kept)
    assert told.exit_code == 1
    assert "chosen, not trained" in told.output
    assert "nothing is left to do" in call("resume", kept).output


@pytest.mark.parametrize(("key", "value"), [("objective", "fid"), ("ensemble", "size 9")])
def test_what_was_not_asked_for_is_not_given(found, key, value):
    ask = found.best if key == "objective" else found.mixture
    with pytest.raises(gd.SettingError, match=f"{key}='{value}'"):
        ask(value)


# ---- shown


def test_the_shell_chooses_samples_shows_and_reports(runs, tmp_path, found):
    kept = tmp_path / "kept"
    told = call(
        "ensemble", *runs, "--objective", "tvd", "--size", 1, "--size", 2, "--at-most", 3,
        "--samples", SAMPLES, "-o", kept,
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert f"kept in {kept}; next: gandask report {kept}" in told.output
    assert gd.open_run(kept).ds["weight"].equals(found.ds["weight"])
    assert "exists already" in call("ensemble", *runs, "--at-most", 3, "-o", kept).output
    shown = call("show", kept)
    assert "search = evolve" in shown.output
    assert "best: ensemble" in shown.output
    assert "nan" not in shown.output
    assert call("sample", kept, "-n", 20, "-o", tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a.png").is_file()
    assert call("report", kept).exit_code == 0
    text = (kept / "report.html").read_text()
    for title in ("Ensembles by size", "One objective against the other", "Members of each"):
        assert title in text
    assert "no samples" not in text


def test_a_front_is_reported(runs, tmp_path):
    both = gd.ensembles(runs, **WANTED | {"objective": ("tvd", "fid")})
    page = report.page(gd.open_run(both.save(tmp_path / "front")))
    assert "One objective against the other" in page
    assert "Time by routine" not in page
    assert "wall time" not in page
    for name in ("sizes", "front", "weights"):
        assert not isinstance(getattr(both.plot, name)(), hv.Text), name


def test_figures_draw_what_was_found(found):
    sizes = found.plot.sizes()
    labels = {layer.label for layer in sizes}
    assert labels == {"half that chose", "half that judges", "optimum"}
    (judged,) = [layer for layer in sizes if layer.label == "half that judges"]
    np.testing.assert_array_equal(judged.dimension_values(1), found.ds["final_tvd"])
    (ensembles_,) = [layer for layer in found.plot.front() if layer.label == "ensemble"]
    assert len(ensembles_) == 3
    (bars,) = [*found.plot.weights()]
    parts = int((found.ds["weight"] > 0).sum())
    assert len(bars) == parts
    ends = bars.dimension_values("x1")
    assert ends.max() == pytest.approx(1)


def test_figures_of_many_ensembles_show_all_or_say_how_many(found):
    many = found.ds.isel(ensemble=np.arange(43) % found.ds.sizes["ensemble"])
    many = many.assign_coords(ensemble=[f"at most 8, {number}" for number in range(1, 44)])
    figures = found.method.figures()
    (judged,) = [
        layer for layer in figures["sizes"].draw(many) if layer.label == "half that judges"
    ]
    np.testing.assert_array_equal(judged.dimension_values(1), many["final_tvd"])
    drawn = hv.render(figures["weights"].draw(many), backend="bokeh")
    assert drawn.title.text == "30 of 43 ensembles"
    named = [*drawn.yaxis[0].major_label_overrides.values()]
    assert len(named) == 30
    assert {"at most 8, 1", "at most 8, 43"} <= {*named}
    for drawing in (figures["sizes"].draw(many), figures["front"].draw(many)):
        label = hv.render(drawing, backend="bokeh").xaxis[0].axis_label
        assert max(map(len, label.split("\n"))) <= 40, "a phone shows no more in a line"


@pytest.mark.parametrize("name", ["sizes", "front", "weights"])
def test_a_figure_of_nothing_says_so(found, name, tmp_path):
    empty = found.ds.where(False)
    write(empty, tmp_path / "empty.zarr")
    assert found.method.figures()[name].draw(empty) is not None
