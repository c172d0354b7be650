"""The demonstration: what is compared, and a verdict that follows from its numbers."""

import contextlib
from dataclasses import replace

import pytest

import gandask as gd
from gandask import presets
from gandask.presets import demo
from gandask.presets.demo import APART, BEST, POPULATION, SINGLE, TUNED, Outcome

SHORT = {
    "groups": 3,
    "iterations": 4,
    "interval": 2,
    "iterations_per_round": 2,
    "score_every": 2,
    "score_samples": 50,
    "final_samples": 100,
}


@pytest.fixture(scope="module")
def population():
    settings = presets.read("mggan-demo")
    settings.pop("method")
    return gd.MGGAN(**settings | SHORT)


@pytest.fixture(scope="module")
def datasets(cache, population):
    return {name: gd.run(method) for name, method in demo.trained(population).items()}


def test_all_train_on_as_many_batches(datasets):
    assert {name: int(ds.batches.sum()) for name, ds in datasets.items()} == dict.fromkeys(
        ("population", "apart", "single", "tuned"), 12
    )


def test_rivals_differ_in_what_is_compared_alone(population):
    trained = demo.trained(population)
    assert trained["population"] is population
    unscored = {"score_samples": 0, "interval": 0}
    assert trained["apart"] == replace(population, **unscored)
    assert trained["single"] == replace(population, **unscored, groups=1, iterations=12)
    assert trained["tuned"] == replace(trained["single"], learning_rate=demo.SUITED)


def test_outcomes_are_those_of_the_mixture_and_of_the_best_by_the_score(datasets):
    found = demo.outcomes(datasets)
    mixed, apart = datasets["population"], datasets["apart"]
    assert found[POPULATION].tvd == float(mixed.final_mixture_tvd)
    assert found[APART].tvd == float(apart.final_mixture_tvd)
    assert found[BEST].tvd == float(apart.final_tvd.min())
    assert found[BEST].modes == int(apart.final_modes[apart.final_tvd.values.argmin()])
    assert found[SINGLE].high_quality == datasets["single"].final_high_quality.item()
    assert found[TUNED].high_quality == datasets["tuned"].final_high_quality.item()


def test_scores_on_the_way_change_no_outcome(datasets, population):
    unscored = gd.run(replace(population, score_samples=0))
    assert demo.outcomes(datasets | {"population": unscored}) == demo.outcomes(datasets)


def held(**modes):
    """Make outcomes: modes held, for each seed, by contender."""
    names = {"groups": POPULATION, "single": SINGLE, "best": BEST, "apart": APART, "tuned": TUNED}
    return {names[key]: [Outcome(one, 0.5, 0.1) for one in of] for key, of in modes.items()}


@pytest.mark.parametrize(
    ("groups", "single", "best", "said"),
    [
        ([8, 8], [8, 3], [7, 8], "population gains here"),
        ([8, 8], [8, 3], [8, 8], "no difference here"),
        ([7, 8], [3, 3], [7, 7], "population gains here"),
        ([8, 7], [8, 8], [1, 1], "population loses here"),
        ([7, 7], [7, 1], [1, 1], "no difference here"),
    ],
)
def test_the_verdict_follows_from_the_numbers(groups, single, best, said):
    """The strongest rival decides, whichever it is."""
    found = held(groups=groups, single=single, best=best, apart=[8, 8], tuned=[8, 8])
    told = demo.verdict(found, 8)
    assert said in told
    assert sum(word in told for word in ("gains here", "loses here", "no difference here")) == 1


@pytest.mark.parametrize(
    ("groups", "apart", "said"),
    [([8, 8], [8, 8], "mixing that counts"), ([8, 8], [8, 7], "helps"), ([1, 8], [8, 8], "harms")],
)
def test_the_verdict_says_whether_meeting_counts(groups, apart, said):
    found = held(groups=groups, single=[1, 1], best=[1, 1], apart=apart, tuned=[8, 8])
    assert said in demo.verdict(found, 8)


@pytest.mark.parametrize(
    ("groups", "tuned", "said"),
    [
        ([8, 8], [8, 8], "needs no population"),
        ([8, 8], [8, 7], "ahead of that"),
        ([1, 1], [8, 1], "needs no population"),
    ],
)
def test_the_verdict_says_how_a_tuned_gan_does(groups, tuned, said):
    found = held(groups=groups, single=[1, 1], best=[1, 1], apart=[8, 8], tuned=tuned)
    assert said in demo.verdict(found, 8)


def test_the_table_counts_who_missed_a_mode():
    found = held(groups=[8, 8], single=[8, 3], best=[7, 7], apart=[8, 8], tuned=[8, 8])
    rows = {line[:32].strip(): line[32:].split() for line in demo.table(found, 8).splitlines()}
    assert rows[POPULATION] == ["0", "of", "2", "8", "8", "50%", "0.10"]
    assert rows[SINGLE] == ["1", "of", "2", "8", "3", "50%", "0.10"]
    assert rows[BEST][:3] == ["2", "of", "2"]


def test_it_leaves_picture_film_and_report(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SEEDS", 2)
    monkeypatch.setattr(demo.cluster, "local", lambda workers: contextlib.nullcontext(None))
    store = tmp_path / "demo"
    told = demo.run(store, seed=5, **SHORT)
    for name in ("samples/mixture.png", "film.gif", "report.html"):
        assert (store / name).stat().st_size > 1000
        assert str(store / name) in told
    assert gd.open_run(store).settings["seed"] == 5
    assert "of 2 seeds" in told
    with pytest.raises(gd.StoreError, match="exists"):
        demo.run(store, seed=5, **SHORT)
