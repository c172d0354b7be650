"""MGGAN's state machine on hand-made reports, and small runs in process."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import tiny

import gandask as gd
from gandask.core import Report
from gandask.methods.mggan import tasks as iterations
from gandask.methods.mggan.regrouping import POLICIES, settled, variation
from gandask.methods.tasks import initialise
from gandask.scores import features


def mggan(**changes):
    return tiny("mggan", **changes)


def report(task, losses=1.0, *, finite=True):
    """Make the report of a training task that saw these generator losses."""
    count = task.arguments["last"] - task.arguments["first"] + 1
    values = {
        "finite": finite,
        "scored": task.arguments["scored"],
        "last_iteration": task.arguments["last"],
        "batches": count,
        "generator_training_loss": 1.0,
        "discriminator_training_loss": 1.0,
        "learning_rate": np.full(count, task.arguments["learning_rate"]),
        "generator_loss": np.broadcast_to(np.asarray(losses, float), count).copy(),
        "discriminator_loss": np.ones(count),
        "loss_variation": np.zeros(count),
        "regrouping": np.full(count, -1),
    }
    return Report(task.slot, task.round, task.name, values)


def walk(method, losses=lambda task: 1.0):
    """Walk through a run's training on hand-made reports: each plan's tasks, with the view."""
    view, plan = method.start()
    tasks = plan[-1]
    while tasks and "last" in tasks[0].arguments:
        yield view, tasks
        view, plan = method.advance(view, [report(task, losses(task)) for task in tasks])
        tasks = plan[0] if plan else []
    yield view, []


def spans(method, **how):
    return [
        (tasks[0].arguments["first"], tasks[0].arguments["last"])
        for _, tasks in walk(method, **how)
        if tasks
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"interval": 25, "iterations": 60}, [(1, 25), (26, 50), (51, 60)]),
        # in even parts where it is longer than a task may be
        ({"interval": 25, "iterations": 50, "iterations_per_round": 20},
         [(1, 13), (14, 25), (26, 38), (39, 50)]),
        # however long the run is: a longer one begins as a shorter one
        ({"interval": 0, "iterations": 90}, [(1, 40), (41, 80), (81, 90)]),
        ({"interval": 100, "iterations": 50}, [(1, 34), (35, 50)]),
        ({"interval": 1, "iterations": 3}, [(1, 1), (2, 2), (3, 3)]),
        ({"groups": 1, "interval": 5, "iterations": 30}, [(1, 30)]),
        ({"regrouping": "none", "interval": 5, "iterations": 30}, [(1, 30)]),
    ],
)  # fmt: skip
def test_rounds_end_at_regroupings_or_bounds(settings, expected):
    method = mggan(**{"iterations_per_round": 40} | settings)
    assert spans(method) == expected
    assert method.rounds == len(expected)


def test_partners_follow_the_discriminators():
    method = mggan(groups=4, interval=10, iterations=50)
    owner = {f"group/{i}/discriminator/0": i for i in range(4)}
    met = []
    for view, tasks in walk(method):
        for task in tasks:
            group = view.groups[int(task.slot[-1])]
            # what it reads is what the view says, whoever trained it last
            assert owner[task.reads[2]] == group.partner
            assert task.reads[0].startswith(f"{task.slot}/generator/")
            owner[task.writes[2]] = group.partner
        met.append([group.partner for group in view.groups])
    for before, after in itertools.pairwise(met[:5]):
        assert sorted(after) == [0, 1, 2, 3]
        assert all(one != other for one, other in zip(before, after, strict=True))


def test_each_regrouping_is_an_event_and_the_last_iteration_has_none():
    method = mggan(groups=2, interval=10, iterations=30)
    events = [event for view, _ in walk(method) for event in view.events]
    assert [(event.round, event.kind) for event in events] == [(1, "regrouped"), (2, "regrouped")]
    assert (
        events[0].detail == "after iteration 10, generators with discriminators: 0 with 1, 1 with 0"
    )


def test_regroupings_follow_from_the_seed():
    def met(seed):
        walked = walk(mggan(groups=5, interval=5, iterations=40, seed=seed))
        return [[group.partner for group in view.groups] for view, _ in walked]

    assert met(1) == met(1)
    assert met(1) != met(2)
    # each is drawn anew: who takes over whose discriminator
    taken = {
        tuple(before.index(partner) for partner in after)
        for before, after in itertools.pairwise(met(1))
        if after != before
    }
    assert len(taken) > 3


def falling(until, tail=1.0):
    """Losses by group that halve each window of 10 until an iteration, then stay."""

    def losses(task):
        steps = np.arange(task.arguments["first"], task.arguments["last"] + 1)
        return tail + np.where(steps <= until, 100 * 0.5 ** ((steps - 1) // 10), 0)

    return losses


ADAPTIVE = {
    "interval": "adaptive",
    "window": 10,
    "least_fall": 0.1,
    "interval_growth": 1.5,
    "interval_limit": 80,
    "iterations": 300,
    "iterations_per_round": 100,
    "score_samples": 0,
}


def regroupings(method, losses):
    *_, (view, _) = walk(method, losses)
    return list(view.regroupings)


def test_period_a_ends_when_the_loss_falls_no_more():
    # windows of 10: falls end at 30 (to the tail at 31-40), and 41-50 shows no further one
    method = mggan(**ADAPTIVE)
    found = regroupings(method, falling(30))
    assert found[0] == 50
    # T₀ = 50, then 75, then the cap
    assert np.diff([0, *found]).tolist() == [50, 75, 80, 80]
    assert method.rounds >= len(spans(method, losses=falling(30)))


def test_period_a_waits_for_every_group():
    quick, slow = falling(30), falling(50)

    def losses(task):
        return (slow if task.slot == "group/1" else quick)(task)

    assert regroupings(mggan(**ADAPTIVE), losses)[0] == 70


def test_period_a_ends_at_the_limit_where_the_loss_never_falls():
    assert regroupings(mggan(**ADAPTIVE), lambda task: 1.0)[0] == 80


@pytest.mark.parametrize(
    ("losses", "detail"),
    [
        (falling(30), "period A took 50 iterations: the loss falls no more"),
        (lambda task: 1.0, "period A took 80 iterations: the limit"),
    ],
)
def test_the_end_of_period_a_is_an_event(losses, detail):
    events = [event for view, _ in walk(mggan(**ADAPTIVE), losses) for event in view.events]
    assert (events[0].kind, events[0].detail) == ("period B", detail)
    assert {event.kind for event in events[1:]} == {"regrouped"}


def test_the_interval_is_recorded_as_it_grows():
    found = [
        (int(record.values["last_iteration"]), int(record.values["interval"]))
        for view, _ in walk(mggan(**ADAPTIVE), falling(30))
        for record in view.records
        if record.slot == "group/0"
    ]
    assert found == [
        (10, -1), (20, -1), (30, -1), (40, -1), (50, -1),
        (125, 75), (205, 80), (285, 80), (300, 80),
    ]  # fmt: skip


def test_algorithm_1_looks_to_no_regrouping_before_the_second():
    method = mggan(interval=30, iterations=100, iterations_per_round=30, adjustment_region=5)
    looked = {
        tasks[0].arguments["first"]: tasks[0].arguments["regroupings"]
        for _, tasks in walk(method)
        if tasks
    }
    # the one at 30 ends period A; the run ends before the last
    assert looked == {1: (), 31: (60,), 61: (60, 90), 91: (90, 120)}


def test_learning_rate_and_loss_go_on_into_the_next_round():
    method = mggan(interval=30, iterations=90, iterations_per_round=30)
    walked = walk(method, lambda task: [float(task.round)])
    next(walked)
    _, tasks = next(walked)
    assert {task.arguments["loss_before"] for task in tasks} == {1.0}
    assert {task.arguments["learning_rate"] for task in tasks} == {1e-3}


def test_what_is_not_finite_is_discarded():
    method = mggan(groups=2, interval=10, iterations=30, score_samples=0)
    view, plan = method.start()
    first, second = plan[-1]
    spoilt = report(first, finite=False)
    spoilt.values["learning_rate"][:] = 7.0
    after, plan = method.advance(view, [spoilt, report(second)])
    assert [event.kind for event in after.events] == ["non_finite", "regrouped"]
    # the generator of before, and the discriminator that came over
    assert plan[0][0].reads[0] == "group/0/generator/0"
    assert plan[0][0].reads[2] == "group/1/discriminator/1"
    assert plan[0][1].reads[2] == "group/0/discriminator/0"
    assert math.isnan(plan[0][0].arguments["loss_before"])
    assert plan[0][0].arguments["learning_rate"] == 1e-3


def test_losses_of_discarded_iterations_decide_nothing():
    method = mggan(groups=3, interval=10, iterations=30, regrouping="fitness", score_samples=0)
    view, plan = method.start()
    first, second, third = plan[-1]
    spoilt = report(first, 0.1, finite=False)  # its loss looks like the fittest
    _, plan = method.advance(view, [spoilt, report(second, 0.5), report(third, 0.9)])
    # fittest to least fit: 1, 2, 0
    partners = [task.reads[2] for task in plan[0]]
    assert partners == [
        "group/2/discriminator/1",
        "group/0/discriminator/0",
        "group/1/discriminator/1",
    ]


def test_the_mixture_evolves_once_for_each_scoring():
    method = mggan(groups=2, interval=0, iterations=30, iterations_per_round=10, score_every=10)
    statistics = {slot: np.asarray(values)[None] for slot, values in scored_statistics(method)}

    def scored(task):
        made = report(task)
        return Report(
            made.slot, made.round, made.task, {**made.values, "statistics": statistics[task.slot]}
        )

    view, plan = method.start()
    one, other = plan[-1]
    view, plan = method.advance(view, [scored(one)])
    assert [record.slot for record in view.records] == ["group/0"]
    view, later = method.advance(view, [scored(plan[0][0])])  # a round ahead
    assert [record.slot for record in view.records] == ["group/0"]
    view, plan = method.advance(view, [scored(other)])
    assert [(record.slot, record.round) for record in view.records] == [("group/1", 1), ("", 1)]
    view, plan = method.advance(view, [scored(later[0][0])])
    assert [(record.slot, record.round) for record in view.records] == [("group/0", 3)]


def scored_statistics(method):
    """Measure two sets of points as a task would."""
    measure = features.extractor(method.training.data)
    for seed in range(method.groups):
        points = torch.randn(50, 2, generator=torch.Generator().manual_seed(seed))
        yield f"group/{seed}", measure.statistics(iter([points])).to_array()


def test_groups_go_on_by_themselves_between_regroupings():
    method = mggan(groups=2, interval=20, iterations=40, iterations_per_round=10)
    view, plan = method.start()
    one, other = plan[-1]
    view, plan = method.advance(view, [report(one)])
    assert [task.slot for task in plan[0]] == ["group/0"]
    view, plan = method.advance(view, [report(plan[0][0])])
    assert plan == []  # it waits at the regrouping
    view, plan = method.advance(view, [report(other)])
    assert [task.slot for task in plan[0]] == ["group/1"]
    view, plan = method.advance(view, [report(plan[0][0])])
    assert [task.slot for task in plan[0]] == ["group/0", "group/1"]
    assert [event.kind for event in view.events] == ["regrouped"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"groups": 0}, ("groups=0", "at least 1")),
        ({"interval": -1}, ("interval=-1", "at least 0")),
        ({"interval": "adaptve"}, ("interval='adaptve'", "0 for never, or 'adaptive'")),
        ({"interval": 2.5}, ("interval=2.5", "a whole number of at least 0 or a name")),
        ({"regrouping": "cycle"}, ("regrouping='cycle'", "'cyclic'?")),
        ({"base": "dcgn"}, ("base='dcgn'", "'dcgan'?")),
        ({"base": ["mlp", "mlp"]}, ("base=['mlp', 'mlp']", "3 of them")),
        ({"base": ["mlp", "mlp", ["mlp", "mlp", "mlp"]]}, ("pairs such as ('dcgan', 'wgan')",)),
        ({"base": 3}, ("base=3", "a name in NETWORKS")),
        ({"base": [["mlp"], "mlp", "mlp"]}, ("not ['mlp']", "pairs such as")),
        ({"base": [["mlp", ["mlp"]], "mlp", "mlp"]}, ("pairs such as",)),
        ({"base": [1, "mlp", "mlp"]}, ("not 1", "pairs such as")),
        ({"loss": "bse"}, ("loss='bse'", "'bce'?")),
        ({"interval_growth": 0.9}, ("interval_growth=0.9", "at least 1")),
        ({"adjustment_limit": 0.5}, ("adjustment_limit=0.5", "at least 1")),
        ({"rounds": 5}, ("MGGAN has no setting 'rounds'",)),
    ],
)
def test_bad_settings_are_refused_by_name(settings, words):
    with pytest.raises(gd.SettingError) as refused:
        mggan(**settings)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        # images only
        ({"base": "dcgan"}, ("base='dcgan'", "square images", "small_mlp")),
        ({"data": "digits", "base": ["mlp", "conditional_mlp", "mlp"]},
         ("generator 0 (mlp) and discriminator 1 (conditional_mlp)", "labels")),
        ({"loss": "wgan_gp", "data": "digits", "image_size": 28, "base": "dcgan"},
         ("generator 0 (dcgan) and discriminator 0 (dcgan)", "wgan_gp")),
        ({"batch_size": 10**6}, ("batch_size=1000000", "50000 samples")),
    ],
)  # fmt: skip
def test_what_cannot_meet_is_refused_before_the_start(settings, words, tmp_path):
    with pytest.raises(gd.SettingError) as refused:
        gd.run(mggan(**settings), store=tmp_path / "run")
    for word in words:
        assert word in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_families_that_never_meet_may_be_any():
    method = mggan(data="digits", base=["mlp", "conditional_mlp", "mlp"], regrouping="none")
    method.check()
    assert method.rounds == 4


def test_families_mix_within_and_between_groups():
    method = mggan(
        groups=3,
        data="digits",
        base=["mlp", "wgan", ["dcgan", "mlp"]],
        batch_size=8,
        iterations=8,
        interval=4,
        score_every=8,
        kept_samples=0,
        score_samples=20,
        final_samples=20,
    )
    losses = {
        (one, other): method.pair(one, other).losses[0] for one in range(3) for other in range(3)
    }
    # the loss is the discriminator's
    assert all(losses[one, 1] is gd.LOSSES["wgan_gp"] for one in range(3))
    assert all(losses[one, other] is gd.LOSSES["bce"] for one in range(3) for other in (0, 2))
    assert [method.pair(i, 0).latent for i in range(3)] == [64, 100, 100]
    ds = gd.run(method)
    assert np.isfinite(ds.final_fid).all()
    assert (ds.partner.isel(round=0) != ds.partner.isel(round=1)).all()


def test_every_quantity_of_algorithm_1_can_be_followed():
    method = mggan(
        groups=2,
        iterations=90,
        interval=30,
        iterations_per_round=20,
        adjustment_region=4,
        adjustment_ratio=0.2,
        adjustment_limit=1.5,
        variation_threshold=0.05,
        learning_rate=1e-3,
        score_samples=0,
    )
    ds = gd.run(method)
    assert float(ds.initial_learning_rate) == 1e-3
    assert float(ds.learning_rate_limit) == 1.5e-3
    assert int(ds.adjustment_region) == 4
    assert float(ds.adjustment_ratio) == 0.2
    assert float(ds.variation_threshold) == 0.05
    losses, rates = ds.generator_loss.values, ds.learning_rate.values
    raised = 0
    for group in range(2):
        rate, before = 1e-3, math.nan
        for i, iteration in enumerate(ds.iteration.values):
            varied = variation(before, losses[group, i])
            assert float(ds.loss_variation[group, i]) == varied
            # of period B there is one at 60, whose region ends at 64; a longer run has one at 90
            near = 56 <= iteration <= 64 or iteration >= 86
            looked = 90 if iteration > 65 else 60 if iteration > 30 else -1
            assert int(ds.regrouping[group, i]) == looked
            if near and varied <= 0.05:
                rate = min(rate * 1.2, 1.5e-3)
                raised += 1
            elif iteration == 65:
                rate = 1e-3
            assert rates[group, i] == rate
            before = losses[group, i]
    assert raised, "choose a threshold that some iteration keeps"


def test_the_optimisers_use_the_adjusted_rate(monkeypatch):
    used = []
    step = iterations.Pair.discriminator_step

    def spied(self, real):
        used.append((self.generator.learning_rate, self.discriminator.learning_rate))
        return step(self, real)

    monkeypatch.setattr(iterations.Pair, "discriminator_step", spied)
    method = mggan(
        groups=2, iterations=40, interval=10, variation_threshold=9.0, adjustment_ratio=0.3
    )
    ds = gd.run(method)
    del used[: -2 * 40]  # the first are trials
    rates = ds.learning_rate.values
    assert rates.max() == 2e-3
    found = np.array(used).reshape(4, 2, 10, 2)  # rounds, groups, iterations, networks
    for network in range(2):
        np.testing.assert_array_equal(found[..., network], rates.reshape(2, 4, 10).swapaxes(0, 1))


def test_a_fixed_interval_leaves_the_rate_alone_unless_asked():
    assert mggan(adjust_learning_rate=None).adjustment.ratio == 0
    assert mggan(adjust_learning_rate=None, interval="adaptive").adjustment.ratio == 0.05
    assert mggan(adjust_learning_rate=False, interval="adaptive").adjustment.ratio == 0
    ds = gd.run(mggan(adjust_learning_rate=False, variation_threshold=9.0, score_samples=0))
    assert (ds.learning_rate == 1e-3).all()


def test_an_adaptive_run_ends_where_its_losses_say():
    method = mggan(**ADAPTIVE | {"groups": 2, "iterations": 120, "interval_limit": 40})
    ds = gd.run(method)
    assert 0 < ds.sizes["round"] <= method.rounds
    assert int(ds.last_iteration.isel(round=-1).min()) == 120
    assert np.isfinite(ds.generator_loss).all()
    first = int(ds.last_iteration.where(ds.interval == -1).max())
    looks = range(10, first, 10)
    ended = [
        all(settled(ds.generator_loss.values[g, :at], 10, 0.1) for g in range(2)) for at in looks
    ]
    assert not any(ended)
    assert first == 40 or all(settled(ds.generator_loss.values[g, :first], 10, 0.1) for g in (0, 1))


def test_plain_gans_do_not_depend_on_one_another():
    two = gd.run(mggan(groups=2, interval=0))
    three = gd.run(mggan(groups=3, interval=0))
    for name in ("generator_loss", "learning_rate", "final_fid", "samples"):
        xr.testing.assert_equal(two[name], three[name].isel(group=slice(2)))
    assert (three.partner == three.group).all()
    assert three.sizes["event"] == 0


def test_scores_come_when_they_are_due():
    ds = gd.run(mggan(iterations=50, interval=15, iterations_per_round=10, score_every=20))
    assert ds.last_iteration.isel(group=0).values.tolist() == [8, 15, 23, 30, 38, 45, 50]
    scored = np.isfinite(ds.fid).all("group").values.tolist()
    assert scored == [False, False, True, False, False, True, True]  # and at the end
    assert np.isfinite(ds.mixture_fid).values.tolist() == scored
    assert np.isfinite(ds.samples).all()
    assert ds.snapshot_iteration.values.tolist() == [[23, 45, 50]] * 3
    assert float(ds.final_mixture_weight.sum()) == pytest.approx(1)


def test_the_trained_result_is_any_generator_the_best_or_all(tmp_path):
    method = mggan(groups=3, interval=10, mixture_sigma=0.3, mixture_generations=20)
    ds = gd.run(method, store=tmp_path / "run")
    run = gd.open_run(tmp_path / "run")
    best = int(ds.final_fid.argmin("group"))
    assert list(run.best_mixture().weights) == list(run.mixture(f"group/{best}").weights)
    together = run.mixture("all")
    assert list(together.weights.values()) == pytest.approx(ds.final_mixture_weight.values.tolist())
    for slot in ("group/0", "group/2", "all"):
        assert run.mixture(slot).sample(7).shape == (7, 2)
    with pytest.raises(gd.StoreError, match="group/0, group/1, group/2, all"):
        run.mixture("group/9")


def test_mixed_families_can_be_sampled_from_a_store(tmp_path):
    method = mggan(
        groups=2, data="digits", base=["mlp", ["small_mlp", "mlp"]], iterations=4, interval=2,
        kept_samples=0, mixture_generations=0,
    )  # fmt: skip
    gd.run(method, store=tmp_path / "run")
    assert gd.open_run(tmp_path / "run").mixture("all").sample(6).shape == (6, 1, 8, 8)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_policies_by_name(policy):
    ds = gd.run(mggan(regrouping=policy, score_samples=0, iterations=30, interval=10))
    changes = (ds.partner.diff("round") != 0).any("group").values
    assert changes.all() == (policy != "none")
    assert (np.sort(ds.partner, axis=1) == [0, 1, 2]).all()


def test_an_iteration_of_several_discriminator_steps_is_a_plain_loop():
    method = mggan(groups=1, interval=0, iterations=4, discriminator_steps=3, score_samples=0)
    training = method.training
    states, _ = initialise(training=training, slot="group/0", population_size=1)
    (_, (task,)) = method.start()[1]
    written, values = task.function(*states, **task.arguments)
    with training.settled() as device:
        pair = iterations.Pair.load(states, training, training.losses[0], "group/0", 1, device)
        drawn = iterations.batches(training, training.shard("group/0"), "group/0", first=1)
        for _ in range(4):
            pair.generator_step()
            for _ in range(3):
                pair.discriminator_step((training.data.batch(next(drawn), device),))
    found = (*pair.generator.states(), *pair.discriminator.states())
    for one, other in zip(written, found, strict=True):
        for key, array in one.items():
            np.testing.assert_array_equal(array, other[key])
    assert values["batches"] == 4
    assert float(written[3]["step"]) == 12


def test_batches_continue_through_an_epoch_and_shuffle_the_next():
    training = mggan(data_fraction=0.04, batch_size=500).training  # 2,000 samples: 4 batches of 500
    shard = np.sort(training.shard("group/0"))
    drawn = iterations.batches(training, shard, "group/0", first=1)
    epochs = [np.concatenate([next(drawn) for _ in range(4)]) for _ in range(2)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), shard)
    assert (epochs[0] != epochs[1]).any()
    again = iterations.batches(training, shard, "group/0", first=7)
    np.testing.assert_array_equal(next(again), epochs[1][1000:1500])


def test_it_is_a_frozen_description():
    method = mggan(base=["mlp", ["mlp", "small_mlp"], "mlp"])
    assert method.base == ("mlp", ("mlp", "small_mlp"), "mlp")
    assert dataclasses.replace(method, seed=5).base == method.base
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.groups = 4


def test_an_adaptive_run_is_the_same_on_workers(clients, assert_same):
    method = mggan(**ADAPTIVE | {"groups": 3, "iterations": 100, "interval_limit": 30})
    assert_same(gd.run(method), gd.run(method, client=clients[2]))


@pytest.mark.parametrize("interval", [10, "adaptive"])
def test_an_asynchronous_run_takes_every_batch_and_regroups_as_often(clients, interval):
    changes = {"groups": 3, "iterations": 60, "interval": interval, "interval_limit": 20}
    method = mggan(**ADAPTIVE | changes | {"iterations_per_round": 5})
    ds = gd.run(method, client=clients[2], synchronous=False)
    assert (ds.batches.where(ds.batches > 0).sum("round") == 60).all()
    assert np.isfinite(ds.generator_loss).all()
    assert (ds.partner >= 0).all()
    assert (np.sort(ds.partner, axis=1) == [0, 1, 2]).all()
    if interval == 10:
        assert int((ds.event_kind == "regrouped").sum()) == 5
