"""The best round is kept: what it is, what it changes, and that nothing of it is lost."""

import numpy as np
import pytest
from conftest import TINY, tiny

import gandask as gd
from gandask import results
from gandask.core import BEST, SettingError
from gandask.pages import report
from gandask.results import without_timings
from gandask.scores import features, metrics
from gandask.scores.metrics import Statistics

#: Both are best well before their end.
SETTINGS = {
    "grid": {"rounds": 6, "learning_rate": 0.02, "selection": False, "seed": 2},
    "mggan": {"iterations": 120, "learning_rate": 5e-3},
    "bpgan": {"iterations": 60, "learning_rate": 2e-2, "score_every": 10},
    "data_parallel": {"iterations": 60, "learning_rate": 2e-2, "score_every": 10},
}


def kept(name, **changes):
    return tiny(name, **SETTINGS[name] | {"keep_best": True, "final_samples": 2000} | changes)


def told_of_best(ds):
    return [key for key in ds if key.startswith(("best_", "final_best_"))]


def plain(ds):
    return without_timings(ds).drop_attrs()


@pytest.fixture(scope="module", params=SETTINGS)
def finished(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return gd.run(kept(request.param), store=folder, progress=False), gd.open_run(folder)


def test_it_is_the_round_and_the_slot_of_the_best_score(finished):
    ds, run = finished
    course, layout = ds["fid"], run.layout
    unit = layout.roles[layout.variables["fid"].role].unit
    best = course.min(unit).dropna("round")
    assert ds["best_round"] == best["round"][best.argmin("round")] < best["round"].max()
    place = dict(zip(unit, layout.slots[ds["best_slot"].item()], strict=True))
    assert course.sel(round=ds["best_round"].item()).isel(place) == course.min()


def test_it_is_what_best_mixture_gives_unless_the_last_is_asked_for(finished):
    ds, run = finished
    best, last = run.best_mixture(), run.best_mixture(last=True)
    assert best.states.keys() == best.weights.keys() != last.weights.keys()
    assert run.mixture(BEST).weights == best.weights
    rounds = {int(name.split("/")[-1]) for name in best.weights}
    assert max(rounds) <= ds["best_round"].item()
    assert max(int(name.split("/")[-1]) for name in last.weights) > ds["best_round"].item()


def test_it_is_scored_anew_on_many_samples(finished):
    """As whoever draws from it would find, but for chance: and not as its round had it."""
    ds, run = finished
    method = run.method
    real = features.reference(*method.measured_by)
    extractor = features.extractor(*method.measured_by)
    drawn = run.best_mixture().sample(5000, seed=3)
    found = metrics.scores(real, Statistics.from_array(extractor.statistics([drawn]).to_array()))
    assert ds["final_best_fid"] == pytest.approx(found["fid"], rel=0.3, abs=0.02)
    assert ds["final_best_fid"] != ds["fid"].min()
    assert ds["final_best_fid"].attrs["samples"] == 2000


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_else_is_changed_by_it(name, finished):
    ds, run = finished
    if run.method_name != name:
        return
    without = gd.run(kept(name, keep_best=False), progress=False)
    assert not told_of_best(without)
    assert plain(ds.drop_vars(told_of_best(ds))).identical(plain(without))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_that_is_extended_has_the_best_of_before(name, tmp_path):
    key = "rounds" if name == "grid" else "iterations"
    at = {"grid": 4, "mggan": 90}.get(name, 50)
    gd.run(kept(name, **{key: at}), store=tmp_path / "run", progress=False, checkpoint_every=1)
    longer = gd.run(kept(name), store=tmp_path / "run", extend=True, progress=False)
    assert plain(longer).identical(plain(gd.run(kept(name), progress=False)))


def test_a_slot_that_diverges_is_not_the_best():
    ds = gd.run(kept("grid", learning_rate=1e30, rounds=2), progress=False)
    assert (ds["event_kind"] == "non_finite").any()
    assert np.isfinite(ds["final_best_fid"])


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"score_samples": 0}, "score_samples=0; ask for one"),
        ({"data": "digits", "labelled": 50, "score": "accuracy"}, "choose another score"),
    ],
)
def test_what_has_no_score_of_generators_by_round_cannot_keep_the_best(changes, remedy):
    with pytest.raises(SettingError, match=f"^keep_best=True: .*{remedy}"):
        tiny("grid", keep_best=True, **changes)


@pytest.mark.parametrize("name", ["bpgan", "data_parallel"])
def test_where_nobody_waits_for_all_the_best_is_not_kept(name):
    with pytest.raises(SettingError, match=r"^keep_best=True: .*own pace"):
        tiny(name, keep_best=True, quorum=0.5)


@pytest.mark.parametrize("combine", ["all_reduce", "local"])
def test_it_is_kept_however_nodes_combine(combine):
    ds = gd.run(kept("data_parallel", combine=combine, iterations=20), progress=False)
    assert ds["best_round"].item() in (10, 20)
    assert np.isfinite(ds["final_best_fid"])


@pytest.mark.parametrize("name", sorted(TINY.keys() - SETTINGS.keys() - {"toy"}))
def test_others_have_no_such_setting(name):
    with pytest.raises(SettingError, match="has no setting 'keep_best'"):
        tiny(name, keep_best=True)


def test_it_is_said_where_a_run_is_looked_at(finished):
    ds, run = finished
    told = f"{ds['best_slot'].item()} after round {ds['best_round'].item()}"
    assert f"kept: {told}" in results.summary(ds)
    assert f"samples of the best round: {told}" in report.page(run)


def test_it_is_known_before_the_end(tmp_path):
    """A run that is stopped says what it keeps, too."""

    def stop(view, records):
        if view.round == 2:
            gd.open_run(tmp_path / "run").stop()

    stopped = gd.run(kept("grid"), store=tmp_path / "run", on_step=stop, progress=False)
    run = gd.open_run(tmp_path / "run")
    assert run.state == "stopped"
    assert stopped.sizes["round"] < 6
    assert stopped["best_round"] >= 1
    assert stopped["best_slot"].item() in run.layout.slots
    assert run.best_mixture().weights == run.mixture(BEST).weights
