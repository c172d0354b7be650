"""The tasks of a grid's cells, held against plain PyTorch and against what the settings promise."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gandask.core import rng
from gandask.execution.serial import Serial
from gandask.methods.grid import tasks
from gandask.methods.grid.tasks import Offspring, train_batches
from gandask.methods.tasks import initialise
from gandask.training import stacked
from gandask.training.learner import fresh_moments, load_module, save_module
from gandask.training.losses import Loss
from gandask.training.settings import Noise, Training

CPU = torch.device("cpu")


@pytest.fixture
def method(grid):
    settings = {"data_fraction": 1.0, "batch_size": 5000}
    return grid(mutation_probability=0.0, skip_discriminator_steps=0, **settings)


def born(method, slot="cell/0"):
    return initialise(training=method.training, slot=slot, population_size=1)[0]


@pytest.fixture
def pair(method):
    return born(method)


def given(method, **changes):
    return {
        "training": method.training,
        "settings": method.cell_settings(1),
        "slot": "cell/0",
        "round": 1,
        "loss": 0,
        "rivals": 1,
        "train_against_rivals": False,
    } | changes


def offspring(method, pair, **changes):
    return Offspring.load(CPU, *pair, pair[0], pair[2], **given(method, **changes))


def train(method, pair, **changes):
    return tasks.train(*pair, pair[0], pair[2], **given(method, **changes))


@pytest.fixture
def double(monkeypatch):
    """Compute in float64, where rounding cannot hide a mistake."""
    real, draw = tasks.real_batch, Noise.draw
    monkeypatch.setattr(tasks, "real_batch", lambda *a: tuple(x.double() for x in real(*a)))
    monkeypatch.setattr(Noise, "draw", lambda *a: tuple(x.double() for x in draw(*a)))


def doubled(one):
    """Give a pair's weights and moments the precision of its batches."""
    for learner in (one.pair.generator, one.pair.discriminator):
        for parameter in learner.parameters:
            parameter.data = parameter.data.double()
        learner.exp_avg = [moment.double() for moment in learner.exp_avg]
        learner.exp_avg_sq = [moment.double() for moment in learner.exp_avg_sq]
    return one


@pytest.mark.parametrize("steps_each", [1, 3])
def test_a_round_is_the_arithmetic_of_a_plain_loop(method, pair, double, steps_each):
    """The same batches and noise through torch.optim.Adam and BCE, written out by hand."""
    method = dataclasses.replace(method, discriminator_steps=steps_each, epochs_per_round=2)
    training = method.training
    ours = doubled(offspring(method, pair))
    train_batches([ours], ours)

    generator = load_module(training.build_generator, pair[0], CPU).train().double()
    discriminator = load_module(training.build_discriminator, pair[2], CPU).train().double()
    rate, betas = training.learning_rate, training.adam_betas
    steps = [torch.optim.Adam(m.parameters(), rate, betas) for m in (generator, discriminator)]
    noise = Noise(training, CPU, 1, "cell/0", "train")
    chance = rng(training.seed, 1, "cell/0", "train")
    shard, size = training.shard("cell/0"), training.batch_size
    queue, epochs = [], 2
    bce = nn.functional.binary_cross_entropy_with_logits
    for _ in range(2 * (len(shard) // size) // steps_each):
        batches = []
        for _ in range(steps_each):
            if not queue:  # an epoch begins
                shuffled, epochs = chance.permutation(shard), epochs - 1
                queue = np.split(shuffled, len(shard) // size)
            batches.append(queue.pop(0))
        # the learning rates' coins are tossed from the same stream as the shuffling
        _ = chance.random(), chance.random()
        logits = discriminator(generator(*noise.draw(size)))
        steps[0].zero_grad()
        bce(logits, torch.ones_like(logits)).backward()
        steps[0].step()
        for batch in batches:
            real = training.data.batch(batch).double()
            fake = generator(*noise.draw(size)).detach()
            on_real, on_fake = discriminator(real), discriminator(fake)
            loss = bce(on_real, torch.ones_like(on_real)) + bce(on_fake, torch.zeros_like(on_fake))
            steps[1].zero_grad()
            loss.backward()
            steps[1].step()
    assert epochs == 0
    taken = 2 * (len(shard) // size) // steps_each
    assert ours.pair.counts == {"generator": taken, "discriminator": taken * steps_each}

    for mine, plain in ((ours.pair.generator, generator), (ours.pair.discriminator, discriminator)):
        for one, other in zip(mine.parameters, plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert not np.array_equal(save_module(generator)["0.weight"], pair[0]["0.weight"])


def test_training_changes_nothing_it_was_given(method, pair):
    copies = [{k: a.copy() for k, a in state.items()} for state in pair]
    for state in pair:
        for array in state.values():
            array.flags.writeable = False
    written, _ = train(method, pair)
    for state, copy in zip(pair, copies, strict=True):
        for key, array in state.items():
            np.testing.assert_array_equal(array, copy[key])
    assert any((written[0][k] != pair[0][k]).any() for k in pair[0])


def test_training_is_a_function_of_its_arguments(method, pair):
    one, other = train(method, pair), train(method, pair)
    for a, b in zip(one[0], other[0], strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    different = train(method, pair, round=2)
    assert any((one[0][0][k] != different[0][0][k]).any() for k in one[0][0])


def test_moments_travel_with_their_individual(method, pair):
    """Two rounds with a trip through arrays between equal two without."""
    training = method.training
    (generator, moments, *rest), _ = train(method, pair)
    assert float(moments["step"]) == len(training.data) // training.batch_size
    through, _ = train(method, (generator, moments, *rest), round=2)
    forgot = fresh_moments(
        load_module(training.build_generator, generator, CPU), training.learning_rate
    )
    without, _ = train(method, (generator, forgot, *rest), round=2)
    assert float(through[1]["step"]) == 2 * float(moments["step"])
    assert any((through[0][k] != without[0][k]).any() for k in generator)


@pytest.mark.parametrize("skip", [0, 1, 2, 4])
def test_the_discriminator_skips_batches(method, pair, skip):
    ours = offspring(dataclasses.replace(method, skip_discriminator_steps=skip), pair)
    train_batches([ours], ours)
    batches = len(method.training.data) // method.batch_size
    assert ours.pair.counts == {"generator": batches, "discriminator": batches // (skip + 1)}


def test_the_order_of_steps_is_a_setting(method, pair):
    seen = []

    def note(name, loss):
        def noted(*logits):
            seen.append(name)
            return loss(*logits)

        return noted

    bce = method.training.losses[0]
    loss = Loss(note("generator", bce.generator), note("discriminator", bce.discriminator))
    for order in ("generator_first", "discriminator_first"):
        seen.clear()
        ours = offspring(dataclasses.replace(method, training_order=order), pair)
        ours.pair.loss = loss
        train_batches([ours], ours)
        assert seen[0] == order.removesuffix("_first")
        assert seen[:2] * (len(seen) // 2) == seen
        assert len(set(seen)) == 2


def test_a_shard_is_not_drawn_for_every_batch(method, pair, monkeypatch):
    """Drawing one of 60,000 takes as long as a tenth of a step."""
    drawn, shard = [], Training.shard
    monkeypatch.setattr(Training, "shard", lambda *a: drawn.append(a) or shard(*a))
    counts = []
    for batch_size in (5000, 2500):
        drawn.clear()
        ours = offspring(dataclasses.replace(method, batch_size=batch_size), pair)
        train_batches([ours], ours)
        counts.append(len(drawn))
    assert counts[0] == counts[1] > 0


def test_the_mutated_learning_rate_reaches_the_optimiser(method, pair):
    """With a rate driven to zero the weights stop moving (the released Lipizzaner's do not)."""
    ours = offspring(
        dataclasses.replace(method, mutation_probability=1.0, mutation_scale=1e9), pair
    )
    ours.chance = FallingChance()
    before = save_module(ours.pair.generator.module)
    before = {key: array.copy() for key, array in before.items()}
    train_batches([ours], ours)
    assert ours.pair.generator.learning_rate == 0.0
    after = save_module(ours.pair.generator.module)
    for key, array in before.items():
        np.testing.assert_array_equal(array, after[key])


class FallingChance:
    """A generator whose every normal number is very negative."""

    def random(self):
        return 0.0

    def normal(self, mean, deviation):
        return -1.0

    def permutation(self, shard):
        return np.random.default_rng(0).permutation(shard)


def test_learning_rates_mutate_with_the_given_probability_and_size(method, pair):
    changes = {"mutation_probability": 0.5, "mutation_scale": 0.1, "learning_rate": 2e-4}
    ours = offspring(dataclasses.replace(method, **changes), pair)
    rates = []
    for _ in range(2000):
        ours.mutate()
        rates.append(ours.pair.generator.learning_rate)
    steps = np.diff(rates)
    assert 0.45 < np.mean(steps != 0) < 0.55
    moved = steps[steps != 0]
    assert moved.std() == pytest.approx(0.1 * 2e-4, rel=0.1)
    assert moved.mean() == pytest.approx(-0.1 * 2e-5, abs=3e-6)


def test_a_non_finite_loss_is_told_and_not_scored(method, pair):
    training = method.training
    broken = Loss(lambda fake: fake.mean() * np.nan, training.losses[0].discriminator)
    states, values = train(method, pair, training=dataclasses.replace(training, losses=(broken,)))
    assert values["finite"] is False
    assert "statistics" not in values
    assert len(states) == 4


def test_without_selection_partners_come_from_the_neighbourhood(method, pair):
    networks = [pair[0]] * 3 + [pair[2]] * 3
    ours = Offspring.load(
        CPU, *pair, *networks, **given(method, rivals=3, train_against_rivals=True)
    )
    others = ours.rivals.generators
    drawn = [ours.partner(others) for _ in range(300)]
    for network in (None, *others[1:]):
        assert 60 < sum(partner is network for partner in drawn) < 140
    for changes in ({"rivals": 3}, {"rivals": 1, "train_against_rivals": True}):
        seen = changes["rivals"]
        networks = [pair[0]] * seen + [pair[2]] * seen
        alone = Offspring.load(CPU, *pair, *networks, **given(method, **changes))
        assert alone.partner(alone.rivals.generators) is None


@pytest.mark.parametrize(("changed", "moved"), [(1, 2), (3, 0)])
def test_rivals_take_part_in_training_without_selection(method, pair, changed, moved):
    """Another rival generator trains another discriminator, and the other way round."""
    other, third = born(method, "cell/1"), born(method, "cell/2")

    def trained(against, rivals):
        arguments = given(method, rivals=2, train_against_rivals=against)
        return tasks.train(*pair, *rivals, **arguments)[0][moved]

    rivals = [pair[0], other[0], pair[2], other[2]]
    replaced = [*rivals]
    replaced[changed] = third[0 if changed == 1 else 2]
    for against in (True, False):
        one, two = trained(against, rivals), trained(against, replaced)
        assert any((one[key] != two[key]).any() for key in one) == against


@pytest.mark.parametrize("name", ["bce", "minimax", "least_squares", "heuristic", "hinge"])
def test_every_loss_trains(grid, name):
    method = grid(loss=name, epochs_per_round=2)
    _, values = train(method, born(method))
    assert values["finite"]
    assert np.isfinite(values["generator_training_loss"])


def test_weight_clipping_bounds_the_critic(grid):
    method = grid(loss="wgan", skip_discriminator_steps=0)
    written, _ = train(method, born(method))
    assert max(abs(array).max() for array in written[2].values()) <= 0.01


def test_the_gradient_penalty_changes_training(grid):
    method = grid(loss="wgan_gp", skip_discriminator_steps=0)
    penalised = method.training
    plain = dataclasses.replace(
        penalised, losses=(dataclasses.replace(penalised.losses[0], gradient_penalty=0.0),)
    )
    states = born(method)
    one, other = train(method, states), train(method, states, training=plain)
    assert any((one[0][2][k] != other[0][2][k]).any() for k in states[2])


def test_fitness_tables_hold_every_pair(method):
    """Each entry is the loss of one pair, computed alone."""
    made = [born(method, f"cell/{i}") for i in range(3)]
    generators, discriminators = [s[0] for s in made], [s[2] for s in made[:2]]
    where = {"training": method.training, "settings": method.cell_settings(1)}
    where |= {"slot": "cell/0", "round": 1}
    _, whole = tasks.fitness(*generators, *discriminators, generators=3, **where)
    assert whole["generator_losses"].shape == whole["discriminator_losses"].shape == (3, 2)
    for row, generator in enumerate(generators):
        for column, discriminator in enumerate(discriminators):
            _, one = tasks.fitness(generator, discriminator, generators=1, **where)
            for key, table in whole.items():
                assert table[row, column] == pytest.approx(one[key][0, 0], rel=1e-5)


@pytest.mark.parametrize(
    ("device", "changes", "told"),
    [("cpu", {}, True), ("cuda", {}, False), ("cpu", {"loss": "wgan"}, False)],
)
def test_fitness_tells_where_cells_had_better_be_trained_as_one(
    grid, monkeypatch, device, changes, told
):
    """By its own device, here as if batching paid on a CPU; networks and losses must allow it."""
    monkeypatch.setattr(stacked, "DEVICES", (device,))
    method = grid(device="cpu", **changes)
    _, plan = method.start()
    executor = Serial(method.seed)
    for stage in plan:
        executor.submit(stage)
    reports = []
    while executor.queue:
        reports += executor.next_reports().values()
    assert {report.task: report.together for report in reports} == {
        "initialise": False,
        "fitness": told,
    }


def test_conditional_networks_train_on_labels(grid):
    method = grid(data="digits", network="conditional_mlp", batch_size=50, features="coordinates")
    _, values = train(method, born(method))
    assert values["finite"]
