"""The training loop, held against plain PyTorch and against what the settings promise."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from gandask.core import rng
from gandask.methods import tasks
from gandask.training.learner import Learner, fresh_moments, load_module, save_module
from gandask.training.losses import Loss
from gandask.training.pair import Trainer, discriminator_loss, feedback, forged, gradients_from
from gandask.training.settings import Noise

CPU = torch.device("cpu")


@pytest.fixture
def training(grid):
    settings = {"data_fraction": 1.0, "batch_size": 5000}
    return grid(mutation_probability=0.0, skip_discriminator_steps=0, **settings).training


@pytest.fixture
def pair(training):
    states, _ = tasks.initialise(training=training, slot="cell/0", population_size=1)
    return states


def trainer(training, pair, loss=None):
    generator = load_module(training.build_generator, pair[0], CPU)
    discriminator = load_module(training.build_discriminator, pair[2], CPU)
    return Trainer(
        training,
        Learner.of(generator, pair[1], training.adam_betas),
        Learner.of(discriminator, pair[3], training.adam_betas),
        Noise(training, CPU, "test"),
        rng(1, "test"),
        torch.Generator().manual_seed(1),
        loss or training.losses[0],
    )


def train(training, pair, round=1, **changes):
    reads = (*pair, pair[0], pair[2])
    arguments = {"slot": "cell/0", "loss": 0, "rivals": 1, "train_against_rivals": False}
    return tasks.train(*reads, training=training, round=round, **arguments | changes)


def test_a_round_is_the_arithmetic_of_a_plain_loop(training, pair):
    """The same batches and noise through torch.optim.Adam and BCE, written out by hand."""
    ours = trainer(training, pair)
    ours.round(training.shard("cell/0"))

    generator = load_module(training.build_generator, pair[0], CPU).train()
    discriminator = load_module(training.build_discriminator, pair[2], CPU).train()
    rate, betas = training.learning_rate, training.adam_betas
    steps = [torch.optim.Adam(m.parameters(), rate, betas) for m in (generator, discriminator)]
    noise, chance = Noise(training, CPU, "test"), rng(1, "test")
    shuffled = chance.permutation(training.shard("cell/0"))
    size = training.batch_size
    bce = nn.functional.binary_cross_entropy_with_logits
    for start in range(0, len(shuffled), size):
        # the learning rates' coins are tossed from the same stream as the shuffling
        _ = chance.random(), chance.random()
        real = training.data.batch(shuffled[start : start + size])
        logits = discriminator(generator(*noise.draw(size)))
        steps[0].zero_grad()
        bce(logits, torch.ones_like(logits)).backward()
        steps[0].step()
        fake = generator(*noise.draw(size)).detach()
        on_real, on_fake = discriminator(real), discriminator(fake)
        loss = bce(on_real, torch.ones_like(on_real)) + bce(on_fake, torch.zeros_like(on_fake))
        steps[1].zero_grad()
        loss.backward()
        steps[1].step()

    for mine, plain in ((ours.generator, generator), (ours.discriminator, discriminator)):
        for one, other in zip(mine.parameters, plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-6)
    assert not np.array_equal(save_module(generator)["0.weight"], pair[0]["0.weight"])


@pytest.mark.parametrize(
    ("network", "loss"), [("mlp", "bce"), ("dcgan", "bce"), ("wgan", "wgan_gp"), ("mlp", "wgan")]
)
def test_steps_cut_in_two_come_to_the_same_bits(grid, network, loss):
    """A server holds the weights; one node judges fakes, another makes them."""
    training = grid(
        data="digits", image_size=28, network=network, loss=loss, batch_size=20
    ).training
    states, _ = tasks.initialise(training=training, slot="cell/0", population_size=1)
    whole, cut = trainer(training, states), trainer(training, states)
    for batch in range(3):
        real = whole.real(np.arange(20 * batch, 20 * batch + 20))
        expected = whole.discriminator_step(real)
        whole.generator_step()

        fakes = forged(cut.generator.module, cut.inputs())
        judge = cut.discriminator
        value = discriminator_loss(cut.loss, judge.module, real, fakes, cut.epsilon)
        travelled = [gradient.clone() for gradient in judge.gradients(value)]
        judge.apply(travelled, cut.loss.clip)
        assert float(value.detach()) == float(expected)
        inputs = cut.inputs()
        fakes = forged(cut.generator.module, inputs)
        _, slope = feedback(cut.loss, judge.module, fakes)
        assert slope.shape == fakes[0].shape
        cut.generator.apply(gradients_from(cut.generator, inputs, slope))
    for one, other in ((whole.generator, cut.generator), (whole.discriminator, cut.discriminator)):
        for expected, found in zip(one.states(), other.states(), strict=True):
            assert expected.keys() == found.keys()
            for key, array in expected.items():
                np.testing.assert_array_equal(found[key], array, err_msg=key)
    assert any((whole.generator.states()[0][key] != states[0][key]).any() for key in states[0])


def test_training_does_not_load_torchs_compiler():
    """It takes a second in each worker, and torch.optim.Adam loads it."""
    code = (
        "import sys, gandask as gd\n"
        "settings = dict(data='ring8', network='small_mlp', shape=(1, 2), rounds=1)\n"
        "less = dict(batch_size=500, score_samples=100, final_samples=100)\n"
        "ds = gd.run(gd.Grid(**settings, **less))\n"
        "print(int(ds.batches.sum()), 'torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    batches, loaded = done.stdout.split()
    assert int(batches) > 0
    assert loaded == "False"


def test_training_changes_nothing_it_was_given(training, pair):
    copies = [{k: a.copy() for k, a in state.items()} for state in pair]
    for state in pair:
        for array in state.values():
            array.flags.writeable = False
    written, _ = train(training, pair)
    for state, copy in zip(pair, copies, strict=True):
        for key, array in state.items():
            np.testing.assert_array_equal(array, copy[key])
    assert any((written[0][k] != pair[0][k]).any() for k in pair[0])


def test_training_is_a_function_of_its_arguments(training, pair):
    one, other = train(training, pair), train(training, pair)
    for a, b in zip(one[0], other[0], strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    different = train(training, pair, round=2)
    assert any((one[0][0][k] != different[0][0][k]).any() for k in one[0][0])


def test_moments_travel_with_their_individual(training, pair):
    """Two rounds with a trip through arrays between equal two without."""
    (generator, moments, *rest), _ = train(training, pair)
    assert float(moments["step"]) == len(training.data) // training.batch_size
    through, _ = train(training, (generator, moments, *rest), round=2)
    forgot = fresh_moments(
        load_module(training.build_generator, generator, CPU), training.learning_rate
    )
    without, _ = train(training, (generator, forgot, *rest), round=2)
    assert float(through[1]["step"]) == 2 * float(moments["step"])
    assert any((through[0][k] != without[0][k]).any() for k in generator)


@pytest.mark.parametrize("skip", [0, 1, 2, 4])
def test_the_discriminator_skips_batches(training, pair, skip):
    changed = dataclasses.replace(training, skip_discriminator_steps=skip)
    ours = trainer(changed, pair)
    ours.round(training.shard("cell/0"))
    batches = len(training.data) // training.batch_size
    assert ours.counts == {"generator": batches, "discriminator": batches // (skip + 1)}


def test_the_order_of_steps_is_a_setting(training, pair):
    seen = []

    def note(name, loss):
        def noted(*logits):
            seen.append(name)
            return loss(*logits)

        return noted

    bce = training.losses[0]
    loss = Loss(note("generator", bce.generator), note("discriminator", bce.discriminator))
    for order in ("generator_first", "discriminator_first"):
        seen.clear()
        changed = dataclasses.replace(training, training_order=order)
        trainer(changed, pair, loss).round(training.shard("cell/0")[: training.batch_size])
        assert seen[0] == order.removesuffix("_first")
        assert len(seen) == 2


def test_the_mutated_learning_rate_reaches_the_optimiser(training, pair):
    """With a rate driven to zero the weights stop moving (the released Lipizzaner's do not)."""
    never = dataclasses.replace(training, mutation_probability=1.0, mutation_scale=1e9)
    ours = trainer(never, pair)
    ours.chance = FallingChance()
    before = save_module(ours.generator.module)
    before = {key: array.copy() for key, array in before.items()}
    ours.round(training.shard("cell/0"))
    assert ours.generator.learning_rate == 0.0
    after = save_module(ours.generator.module)
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


def test_learning_rates_mutate_with_the_given_probability_and_size(training, pair):
    changed = dataclasses.replace(
        training, mutation_probability=0.5, mutation_scale=0.1, learning_rate=2e-4
    )
    ours = trainer(changed, pair)
    rates = []
    for _ in range(2000):
        ours.mutate()
        rates.append(ours.generator.learning_rate)
    steps = np.diff(rates)
    assert 0.45 < np.mean(steps != 0) < 0.55
    moved = steps[steps != 0]
    assert moved.std() == pytest.approx(0.1 * 2e-4, rel=0.1)
    assert moved.mean() == pytest.approx(-0.1 * 2e-5, abs=3e-6)


def test_a_non_finite_loss_is_told_and_not_scored(training, pair):
    broken = Loss(lambda fake: fake.mean() * np.nan, training.losses[0].discriminator)
    states, values = train(dataclasses.replace(training, losses=(broken,)), pair)
    assert values["finite"] is False
    assert "statistics" not in values
    assert len(states) == 4


def test_without_selection_partners_come_from_the_neighbourhood(training, pair):
    ours = trainer(training, pair)
    others = [nn.Identity(), nn.Identity()]
    drawn = [ours.partner(ours.generator.module, others) for _ in range(300)]
    for network in (ours.generator.module, *others):
        assert 60 < sum(partner is network for partner in drawn) < 140
    assert ours.partner(ours.generator.module, []) is ours.generator.module


@pytest.mark.parametrize(("changed", "moved"), [(1, 2), (3, 0)])
def test_rivals_take_part_in_training_without_selection(training, pair, changed, moved):
    """Another rival generator trains another discriminator, and the other way round."""
    other, _ = tasks.initialise(training=training, slot="cell/1", population_size=1)
    third, _ = tasks.initialise(training=training, slot="cell/2", population_size=1)
    where = {"training": training, "slot": "cell/0", "round": 1, "loss": 0, "rivals": 2}

    def trained(against, rivals):
        return tasks.train(*pair, *rivals, train_against_rivals=against, **where)[0][moved]

    rivals = [pair[0], other[0], pair[2], other[2]]
    replaced = [*rivals]
    replaced[changed] = third[0 if changed == 1 else 2]
    for against in (True, False):
        one, two = trained(against, rivals), trained(against, replaced)
        assert any((one[key] != two[key]).any() for key in one) == against


@pytest.mark.parametrize("name", ["bce", "minimax", "least_squares", "heuristic", "hinge"])
def test_every_loss_trains(grid, name):
    training = grid(loss=name, epochs_per_round=2).training
    states, _ = tasks.initialise(training=training, slot="cell/0", population_size=1)
    _, values = train(training, states)
    assert values["finite"]
    assert np.isfinite(values["generator_training_loss"])


def test_weight_clipping_bounds_the_critic(grid):
    training = grid(loss="wgan", skip_discriminator_steps=0).training
    states, _ = tasks.initialise(training=training, slot="cell/0", population_size=1)
    written, _ = train(training, states)
    assert max(abs(array).max() for array in written[2].values()) <= 0.01


def test_the_gradient_penalty_changes_training(grid):
    penalised = grid(loss="wgan_gp", skip_discriminator_steps=0).training
    plain = dataclasses.replace(
        penalised, losses=(dataclasses.replace(penalised.losses[0], gradient_penalty=0.0),)
    )
    states, _ = tasks.initialise(training=penalised, slot="cell/0", population_size=1)
    one, other = train(penalised, states), train(plain, states)
    assert any((one[0][2][k] != other[0][2][k]).any() for k in states[2])


def test_fitness_tables_hold_every_pair(training):
    """Each entry is the loss of one pair, computed alone."""
    arguments = {"training": training, "population_size": 1}
    made = [tasks.initialise(slot=f"cell/{i}", **arguments)[0] for i in range(3)]
    generators, discriminators = [s[0] for s in made], [s[2] for s in made[:2]]
    where = {"training": training, "slot": "cell/0", "round": 1}
    _, whole = tasks.fitness(*generators, *discriminators, generators=3, **where)
    assert whole.pop("device") == "cpu"
    assert whole["generator_losses"].shape == whole["discriminator_losses"].shape == (3, 2)
    for row, generator in enumerate(generators):
        for column, discriminator in enumerate(discriminators):
            _, one = tasks.fitness(generator, discriminator, generators=1, **where)
            for key, table in whole.items():
                assert table[row, column] == pytest.approx(one[key][0, 0], rel=1e-5)


def test_data_dieting_gives_each_cell_its_own_share(grid):
    training = grid(data_fraction=0.25).training
    shards = [set(training.shard(f"cell/{i}")) for i in range(2)]
    assert [len(shard) for shard in shards] == [12_500, 12_500]
    # two random quarters share a quarter of each
    assert 2800 < len(shards[0] & shards[1]) < 3450
    assert shards[0] == set(training.shard("cell/0"))


def test_threads_and_precision_of_the_process_are_left_as_they_were(training):
    torch.set_num_threads(2)
    with dataclasses.replace(training, precision="medium").settled():
        assert torch.get_num_threads() == 1
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_num_threads() == 2
    assert torch.get_float32_matmul_precision() == "highest"


def test_conditional_networks_train_on_labels(grid):
    training = grid(
        data="digits", network="conditional_mlp", batch_size=50, features="coordinates"
    ).training
    states, _ = tasks.initialise(training=training, slot="cell/0", population_size=1)
    _, values = train(training, states)
    assert values["finite"]
