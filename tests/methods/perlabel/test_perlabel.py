"""PerLabel's state machine on hand-made reports, and small runs in process."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import xarray as xr
from conftest import tiny

import gandask as gd
from gandask.core import Report, slot_of
from gandask.methods.mggan import tasks as iterations
from gandask.methods.perlabel import tasks
from gandask.methods.perlabel.budget import Budget
from gandask.methods.tasks import initialise
from gandask.methods.testing import assert_same
from gandask.methods.testing.walk import equal, walk
from gandask.scores import features, metrics
from gandask.scores.metrics import Statistics


def per_label(**changes):
    return tiny("per_label", **changes)


@pytest.fixture(scope="module")
def walked():
    return walk(per_label())


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Three labels of 20, 40 and 120 images."""
    path = tmp_path_factory.mktemp("data") / "uneven.npz"
    labels = np.repeat([0, 1, 2], [20, 40, 120])
    shades = np.random.default_rng(1).integers(0, 60, (len(labels), 8, 8))
    samples = (shades + 90 * labels[:, None, None]).astype(np.uint8)
    np.savez(path, samples=samples, labels=labels)
    return str(path)


def report(task, *, finite=True, seconds=1.0):
    """Make the report of a task, without any scores but at the end."""
    if task.name == "initialise":
        return Report(task.slot, 0, task.name, {})
    if task.name == "score":
        real = features.references(per_label().training.data)[0].statistics
        return Report(task.slot, task.round, task.name, {"statistics": real.to_array()[None]})
    count = task.arguments["last"] - task.arguments["first"] + 1
    values = {"finite": finite, "last_iteration": task.arguments["last"], "batches": count}
    values |= {"training_seconds": seconds}
    return Report(task.slot, task.round, task.name, values)


def steps(method, told=report):
    """Walk through a run on hand-made reports: each plan's tasks, with the view that gave them."""
    view, plan = method.start()
    while plan:
        performed = [task for stage in plan for task in stage]
        yield view, performed
        view, plan = method.advance(view, [told(task) for task in performed])
    yield view, []


def ends(method, told=report):
    """Give the last iteration of each task of a label, by label."""
    found = {}
    for _, performed in steps(method, told):
        for task in performed:
            if task.name == "train":
                found.setdefault(task.arguments["label"], []).append(task.arguments["last"])
    return found


# ---- one label is a GAN of its own


def test_a_label_is_an_ordinary_gan_on_its_samples_alone(walked, tmp_path):
    """MGGAN's tasks, on data of that label alone, come to the same bit for bit."""
    digits = gd.data.load("digits")
    own = digits.labels == 3
    np.savez(tmp_path / "threes.npz", samples=digits.samples[own], labels=digits.labels[own])
    changes = {"data": str(tmp_path / "threes.npz"), "groups": 1, "batch_size": 20}
    group = tiny("mggan", **changes, learning_rate=1e-3, score_samples=0)
    training = group.training
    states, _ = initialise(training=training, slot="label/3", population_size=1)
    for round, (first, last) in enumerate([(1, 3), (4, 6), (7, 7)], 1):
        states, _ = iterations.train(
            *states,
            training=training,
            slot="label/3",
            round=round,
            first=first,
            last=last,
            adjustment=dataclasses.replace(group.adjustment, ratio=0.0),
            regroupings=(),
            learning_rate=1e-3,
            loss_before=math.nan,
            scored=False,
            kept_samples=0,
        )
    names = walked.steps[-1].after.labels[1].named(3)
    assert names[0] == "label/3/generator/3"
    for name, state in zip(names, states, strict=True):
        assert equal(walked.states[name], state), name


def test_several_discriminator_steps_are_a_plain_loop():
    method = per_label(labels=[7], discriminator_steps=3, score_samples=0, kept_samples=0)
    training = method.training
    _, ((made,), (task,)) = method.start()
    states, _ = made.function(**made.arguments)
    written, values = task.function(*states, **task.arguments)
    own = np.flatnonzero(training.data.labels == 7)
    shuffled = gd.core.rng(1, "label/7", "epoch", 0).permutation(own)
    with training.settled() as device:
        pair = tasks.Pair.load(states, training, training.losses[0], "label/7", 1, device)
        for step in range(3):
            pair.generator_step()
            for number in range(3):
                begin = 20 * ((3 * step + number) % 8)  # 179 samples: 8 batches in an epoch
                if 3 * step + number == 8:
                    shuffled = gd.core.rng(1, "label/7", "epoch", 1).permutation(own)
                batch = training.data.batch(shuffled[begin : begin + 20])
                pair.discriminator_step((batch,))
    found = (*pair.generator.states(), *pair.discriminator.states())
    assert all(equal(one, other) for one, other in zip(written, found, strict=True))
    assert values["batches"] == 3
    assert float(written[3]["step"]) == 9


def of_label(ds, label):
    """Give what is known of a label, but for its share among those that are trained."""
    kept = gd.without_timings(ds)
    named = [name for name, one in kept.data_vars.items() if one.attrs.get("role") == "label"]
    found = kept[named].drop_vars("label_share").sel(label=label, drop=True)
    return found.drop_attrs(deep=False)


@pytest.mark.parametrize("changes", [{"labels": (3,)}, {"labels": (7, 3), "at_once": 1}])
def test_a_label_is_the_same_whichever_others_there_are(walked, changes):
    other = walk(per_label(**changes))
    xr.testing.assert_identical(of_label(other.dataset, 3), of_label(walked.dataset, 3))
    for name, state in other.states.items():
        assert equal(state, walked.states[name])


def test_the_order_in_which_labels_are_given_is_nobodys():
    assert per_label(labels=[7, 0, 3]) == per_label(labels=(0, 3, 7))


def test_a_task_knows_of_no_other_label_and_not_how_long_the_run_is():
    def of_three(method):
        every = [task for _, performed in steps(method) for task in performed]
        return [task for task in every if task.slot == "label/3"]

    short = of_three(per_label(budget="iterations:6", share="equal"))
    alone = of_three(per_label(budget="iterations:6", share="equal", labels=(3,)))
    longer = of_three(per_label(budget="iterations:12", share="equal", at_once=2))
    assert short == alone
    assert short[:-1] == longer[: len(short) - 1]
    # but for the score at the end, what it had planned is what the longer run plans
    assert short[-1].name == "score"
    assert [task.name for task in longer] == ["initialise", *["train"] * 4, "score"]


def test_nothing_is_read_from_another_label(walked):
    assert int(walked.dataset.sent_bytes.sum()) == 0
    assert walked.dataset.sizes["term"] == 0
    for one in walked.performed:
        assert {slot_of(name) for name in one.task.reads} <= {one.task.slot}


def test_indices_are_found_once_and_data_never_copied():
    training = per_label().training
    assert tasks.rows(training, "label/3", 3) is tasks.rows(training, "label/3", 3)
    assert (training.data.labels[tasks.rows(training, "label/3", 3)] == 3).all()
    part = dataclasses.replace(training, data_fraction=0.5)
    assert len(tasks.rows(part, "label/3", 3)) == per_label(data_fraction=0.5).counts[3] == 92
    assert part.data is training.data


# ---- budgets and turns


@pytest.mark.parametrize(
    ("budget", "share", "expected"),
    [
        ("iterations:7", "equal", {0: [3, 6, 7], 1: [3, 6, 7], 2: [3, 6, 7]}),
        # 20, 40 and 120 of 180 samples: as many iterations together
        ("iterations:6", "samples", {0: [2], 1: [3, 4], 2: [3, 6, 9, 12]}),
        # 1, 2 and 6 batches of 20 in a pass
        ("epochs:2", "equal", {0: [2], 1: [3, 4], 2: [3, 6, 9, 12]}),
        ("epochs:0.1", "equal", {0: [1], 1: [1], 2: [1]}),
        # a round takes a second; with seconds there is a limit
        ("seconds:2", "equal", {0: [3, 6], 1: [3, 6], 2: [3, 6]}),
        ("seconds:1.5", "samples", {0: [3], 1: [3], 2: [3, 6, 9]}),
        ("seconds:100", "equal", {0: [3, 6, 9, 10], 1: [3, 6, 9, 10], 2: [3, 6, 9, 10]}),
    ],
)  # fmt: skip
def test_budgets(uneven, budget, share, expected):
    method = per_label(
        data=uneven, labels=None, budget=budget, share=share, iterations_limit=10,
        features="coordinates",
    )  # fmt: skip
    assert ends(method, reported_with(method)) == expected
    most = max(map(len, expected.values()))
    assert method.rounds == (4 if budget.startswith("seconds") else most)


def reported_with(method):
    """Make reports whose statistics are of the method's own features."""
    real = features.references(method.training.data, method.features)[0].statistics

    def told(task):
        made = report(task)
        known = {"statistics": real.to_array()[None]} if task.name == "score" else {}
        return dataclasses.replace(made, values={**made.values, **known})

    return told


def test_an_epoch_of_several_discriminator_steps_is_still_one_pass(uneven):
    method = per_label(data=uneven, labels=None, budget="epochs:5", share="equal", loss="wgan_gp")
    assert [method.iterations(label) for label in range(3)] == [1, 2, 6]


def test_seconds_reached_are_recorded_and_replayed(tmp_path):
    method = per_label(budget="seconds:0.03", share="equal", score_every=1000)
    ds = gd.run(method, store=tmp_path / "run", progress=False)
    spent = ds.training_seconds
    assert (spent.sum("round") >= 0.03).all()
    for label in spent.transpose("label", "round").values:
        # without its last round no label had used them up
        assert label[np.isfinite(label)][:-1].sum() < 0.03
    again = gd.run(method, store=tmp_path / "run", resume=True, progress=False)
    xr.testing.assert_identical(gd.without_timings(again), gd.without_timings(ds))
    xr.testing.assert_identical(again.training_seconds, spent)


def test_labels_take_turns():
    method = per_label(labels=None, at_once=2, share="equal")
    begun, seen = [], []
    for view, performed in steps(method):
        at_work = [label for label in view.labels if label.at_work]
        assert len(at_work) <= 2
        seen.append(view.round)
        begun += [task.slot for task in performed if task.name == "initialise"]
    assert begun == [f"label/{label}" for label in range(10)]
    assert seen == sorted(seen)
    assert seen[-1] == method.rounds == 3
    # it goes on as they do, so that checkpoints are written
    assert {*seen} == {0, 1, 2, 3}


def test_at_their_own_pace_labels_come_to_the_same(walked):
    ds = gd.run(per_label(), synchronous=False, progress=False)
    xr.testing.assert_identical(gd.without_timings(ds), gd.without_timings(walked.dataset))


def test_by_default_a_critic_takes_five_steps():
    asked = [{}, {"loss": "wgan"}, {"loss": "wgan_gp"}, {"loss": "wgan", "discriminator_steps": 2}]
    found = [per_label(**changes).training.discriminator_steps for changes in asked]
    assert found == [1, 5, 5, 2]
    assert gd.PerLabel(base="wgan").training.discriminator_steps == 5


# ---- scores


def test_a_label_is_scored_against_its_own_samples_and_the_mixture_against_all(walked):
    data = gd.data.load("digits")
    extractor = features.extractor(data)
    real, last = {}, {}
    for label in (0, 3, 7):
        own = data.batch(np.flatnonzero(data.labels == label))
        real[label] = extractor.statistics(iter([own]))
    for one in walked.performed:
        if one.task.name == "score":
            label = int(one.task.slot.removeprefix("label/"))
            last[label] = Statistics.from_array(one.report.values["statistics"][0])
            own = metrics.fid(metrics.Reference.of(real[label]), last[label])
            assert float(walked.dataset.final_fid.sel(label=label)) == pytest.approx(own)
    shares = [real[label].count for label in last] / np.sum([r.count for r in real.values()])
    np.testing.assert_allclose(walked.dataset.label_share, shares)
    whole = metrics.Reference.of(metrics.merge([real[label] for label in last]))
    mixed = metrics.merge([*last.values()], shares)
    for name in ("fid", "inception_score", "tvd"):
        expected = metrics.METRICS[name].compute(whole, mixed)
        assert float(walked.dataset[f"final_mixture_{name}"]) == pytest.approx(expected)
    assert walked.steps[-1].after.mixtures["all"] == pytest.approx(
        {f"label/{label}/generator/3": share for label, share in zip(last, shares, strict=True)}
    )
    assert walked.steps[-1].after.best == "all"


def test_scores_by_round_come_where_they_are_due(walked):
    scored = walked.dataset.fid.notnull().all("label")
    assert scored.values.tolist() == [True, True, False]
    assert walked.dataset.mixture_fid.notnull().values.tolist() == [True, True, False]
    assert walked.dataset.final_mixture_fid.notnull()


def test_all_labels_are_compared_with_all_data():
    method = per_label(labels=None)
    assert method._whole is method._real
    known = features.references(method.training.data)
    merged = metrics.merge([one.statistics for one in known])
    np.testing.assert_allclose(merged.to_array(), method._real.statistics.to_array(), rtol=1e-6)


def test_a_label_that_ended_counts_with_its_last_score(uneven):
    given = {"data": uneven, "labels": None, "budget": "iterations:6", "batch_size": 20}
    method = per_label(**given, share="samples", features="coordinates", kept_samples=0)
    ds = gd.run(method, progress=False)
    scored = ds.fid.notnull().transpose("label", "round").values.tolist()
    # its two iterations are fewer than score_every
    assert scored == [[False] * 4, [True, False, False, False], [True] * 4]
    assert ds.mixture_fid.isnull().all()
    assert ds.final_mixture_fid.notnull()
    every = gd.run(dataclasses.replace(method, score_every=2), progress=False)
    assert every.mixture_fid.notnull().all()


def test_what_diverged_is_discarded():
    bad = {("label/3", 2)}
    told = lambda task: report(task, finite=(task.slot, task.round) not in bad)  # noqa: E731
    seen = [(view, performed) for view, performed in steps(per_label(share="equal"), told)]
    events = [event for view, _ in seen for event in view.events]
    assert [(event.slot, event.round, event.kind) for event in events] == [
        ("label/3", 2, "non_finite")
    ]
    reads = {
        task.round: task.reads[0]
        for _, performed in seen
        for task in performed
        if task.slot == "label/3" and task.reads
    }
    assert reads == {
        1: "label/3/generator/0",
        2: "label/3/generator/1",
        3: "label/3/generator/1",
        4: "label/3/generator/3",
    }


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": "UNLABELLED"}, r"has no labels; give a folder .* for each label"),
        ({"labels": (3, 10)}, r"digits has no label 10; expected 0 to 9"),
        ({"labels": ()}, r"labels=\[\]: expected one or more"),
        ({"labels": (3, 3)}, r"labels=\[3, 3\]: expected one or more, each once"),
        ({"labels": (-1,)}, r"labels=.*at least 0"),
        ({"batch_size": 179}, r"0 \(178 samples\) of digits have fewer than batch_size=179"),
        ({"min_samples": 180}, r"0 \(178 samples\), 7 \(179 samples\) .*min_samples=180"),
        ({"data_fraction": 0.1}, r"0 \(18 samples\), 3 \(18 samples\).* leave the labels out"),
        ({"budget": "iterations:0"}, r"expected a whole number of iterations above 0 .*, got '0'"),
        ({"budget": "iterations:1.5"}, r"expected a whole number of iterations"),
        ({"budget": "seconds:-1"}, r"expected a number of seconds above 0"),
        ({"budget": "seconds:nan"}, r"expected a number of seconds above 0"),
        ({"budget": "epochs"}, r"expected a number of epochs above 0 .*, got ''"),
        ({"budget": "epochs:1e308"}, r"epochs above 0 and at most 1e\+12, got '1e308'"),
        ({"budget": "iterations:1e308"}, r"at most 1e\+12, got '1e308'"),
        ({"budget": "minutes:3"}, r"there is no unit 'minutes'; .*'iterations:2000'"),
        ({"budget": "epoch:3"}, r"there is no unit 'epoch'; .*did you mean 'epochs'"),
        ({"budget": "epochs:3"}, r"epochs are in proportion .*share='equal'"),
        ({"base": "conditional_mlp"}, r"takes labels, where each label has a GAN of its own"),
        ({"base": "dcgann"}, r"there is no such base; did you mean 'dcgan'"),
        ({"loss": "wgann"}, r"there is no such loss"),
        ({"base": "dcgan", "loss": "wgan_gp", "image_size": 16}, r"normalises over the batch"),
        ({"share": "half"}, r"share='half'"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_starts(changes, expected, tmp_path):
    if changes.get("data") == "UNLABELLED":
        images = np.random.default_rng(1).integers(0, 256, (30, 8, 8)).astype(np.uint8)
        np.save(tmp_path / "images.npy", images)
        changes = {"data": str(tmp_path / "images.npy"), "labels": None}
    with pytest.raises(gd.SettingError, match=expected):
        per_label(**changes).check()


def test_points_and_budgets_are_read():
    assert Budget.read("seconds:0.5") == Budget("seconds", 0.5)
    per_label(data="ring8", labels=[7]).check()


def test_every_draw_is_a_labels_own(walked):
    fields = [walked.dataset[name] for name in ("generator_training_loss", "fid")]
    for one, other in itertools.combinations(walked.dataset.label.values, 2):
        for field in fields:
            assert (field.sel(label=one) != field.sel(label=other)).all()


def test_labels_in_turn_that_begin_later_in_a_longer_run_come_to_the_same(tmp_path):
    given = {"labels": (0, 3), "at_once": 1, "share": "equal"}
    gd.run(per_label(**given, budget="iterations:6"), store=tmp_path / "run", progress=False)
    longer = per_label(**given, budget="iterations:12")
    ds = gd.run(longer, store=tmp_path / "run", extend=True, progress=False)
    assert_same(ds, gd.run(longer, progress=False))
