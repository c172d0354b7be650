"""Settings that evolve with a grid's networks."""

import numpy as np
import pytest

import gandask as gd
from gandask import config
from gandask.core import Report
from gandask.methods import METHODS
from gandask.methods.grid import mutable
from gandask.methods.grid.mutable import Choices, Range

EVOLVING = {
    "mutation_probability": 0.0,
    "skip_discriminator_steps": 0,
    "mutable": {
        "learning_rate": [1e-4, 1e-2],
        "discriminator_steps": {1, 2},
        "r1": [0.1, 10],
        "batch_size": {50, 100},
    },
}


def test_a_range_is_drawn_by_magnitude_and_changed_within():
    chance, option = np.random.default_rng(1), Range(1e-4, 1e-2)
    drawn = np.array([option.draw(chance) for _ in range(2000)])
    assert drawn.min() >= 1e-4
    assert drawn.max() <= 1e-2
    assert 0.45 < np.mean(drawn < 1e-3) < 0.55
    changed = {option.explored(1e-3, chance) for _ in range(50)}
    assert sorted(changed) == pytest.approx([8e-4, 1.2e-3])
    assert {option.explored(1e-2, chance) for _ in range(50)} == {8e-3, 1e-2}


def test_choices_go_to_the_next_one():
    chance, option = np.random.default_rng(1), Choices((1, 2, 5))
    assert {option.draw(chance) for _ in range(50)} == {1, 2, 5}
    assert {option.explored(2, chance) for _ in range(50)} == {1, 5}
    assert {option.explored(1, chance) for _ in range(50)} == {2}
    assert {option.explored(5, chance) for _ in range(50)} == {2}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"adam_betas": [0.1, 0.9]}, "'adam_betas' cannot evolve; known are"),
        ({"learning_rat": [1e-5, 1e-3]}, "did you mean 'learning_rate'"),
        ({"learning_rate": [1e-3, 1e-5]}, "expected a range"),
        ({"learning_rate": [0.0, 1e-5]}, "expected a range"),
        ({"r1": [-1.0, 1.0]}, "expected a range"),
        ({"r1": [1.0, np.inf]}, "expected a range"),
        ({"r1": 3.0}, "expected a range"),
        ({"r1": "ab"}, "expected a range"),
        ({"r1": {0.5}}, "expected two numbers or more"),
        ({"r1": set()}, "expected two numbers or more"),
        ({"r1": {"choices": 3}}, "expected two numbers or more"),
        ({"r1": {-1.0, 1.0}}, r"mutable: r1=-1.0: expected a finite number of at least 0"),
        ({"discriminator_steps": [1, 5]}, "a whole number: expected choices"),
        ({"discriminator_steps": {1.5, 2}}, "expected two whole numbers or more"),
        ({"discriminator_steps": {0, 1}}, "mutable: discriminator_steps=0"),
    ],
)
def test_what_cannot_evolve_is_refused(grid, given, said):
    with pytest.raises(gd.SettingError, match=said):
        grid(mutation_probability=0.0, skip_discriminator_steps=0, mutable=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"selection": False}, "evolves by selection, and selection=False"),
        ({"mutation_probability": 0.5}, "learning_rate is an offspring's for a whole round"),
        ({"skip_discriminator_steps": 1}, "mutable: discriminator_steps=2: contradicts skip"),
    ],
)
def test_what_contradicts_it_is_refused(grid, given, said):
    with pytest.raises(gd.SettingError, match=said):
        grid(**EVOLVING | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mutable": {"batch_size": {100, 10_000}}}, "batch_size=10000"),
        ({"mutable": {"batch_size": {2, 100}}, "gradient_accumulation": 4}, "a batch has 2"),
        ({"mutable": {"discriminator_steps": {1, 11}}}, "discriminator_steps=11: a round of 10"),
        ({"mutable": {"r1": [0.1, 1.0]}, "dragan": 10.0}, "choose one"),
        ({"mutable": {"r1": [0.1, 1.0]}, "loss": "wgan"}, "choose another loss"),
    ],
)
def test_what_some_values_cannot_is_refused_before_the_start(grid, given, said):
    with pytest.raises(gd.SettingError, match=said):
        grid(**EVOLVING | given).check()


def test_it_is_the_same_from_toml(grid):
    method = grid(**EVOLVING)
    assert method.mutable["learning_rate"] == (1e-4, 1e-2)
    assert method.mutable["batch_size"] == {"choices": (50, 100)}
    text = config.to_toml(method)
    assert "discriminator_steps = { choices" in text or "[mutable.discriminator_steps]" in text
    assert config.from_toml(text, METHODS) == method
    assert hash(config.from_toml(text, METHODS)) == hash(method)


def trained(method, view, finite=True):
    """Give the view after every cell has trained, in whose tournaments cell 0 wins."""
    size = len(view.cells[0].pool.generators)
    pools = [[individual.cell for individual in cell.pool.generators] for cell in view.cells]
    reports = []
    for cell, pool in zip(view.cells, pools, strict=True):
        losses = np.repeat(np.where(np.array(pool) == 0, 0.0, 1.0)[:, None], size, 1)
        values = {"generator_losses": losses, "discriminator_losses": losses.T}
        reports.append(Report(cell.slot, 1, "fitness", values))
    view, plan = method.advance(view, reports)
    values = {"finite": finite, "batches": 1, "generator_losses": np.full(size, -1.0)}
    values |= {"discriminator_losses": np.full(size, -1.0)}
    values |= {f"{kind}_training_loss": 0.0 for kind in ("generator", "discriminator")}
    reports = []
    for task in plan[0]:
        rates = task.arguments["learning_rates"]
        told = {f"{kind}_learning_rate": rate for kind, rate in rates.items()}
        reports.append(Report(task.slot, 1, "train", values | told))
    return plan[0], method.advance(view, reports)[0]


def begun(method):
    """Give the view when every cell measures fitness."""
    view, _ = method.start()
    return view


def test_offspring_inherit_the_values_of_the_winners(grid):
    method = grid(shape=(2, 2), tournament_size=3, score_samples=0, explore_probability=0.0)
    method = config.replace(method, EVOLVING | {"neighbourhood": "moore", "tournament_size": 4})
    view = begun(method)
    founders = {cell.index: cell.own for cell in view.cells}
    values = [founders[i].generators[0].evolved["learning_rate"] for i in founders]
    assert len({*values}) == 4  # each cell's own
    winner = {**founders[0].generators[0].evolved, **founders[0].discriminators[0].evolved}
    tasks, after = trained(method, view)
    for task in tasks:
        training = task.arguments["training"]
        assert {key: getattr(training, key) for key in winner if key != "r1"} == {
            key: value for key, value in winner.items() if key != "r1"
        }
        assert [loss.r1 for loss in training.losses] == [winner["r1"]]
        assert task.arguments["learning_rates"] == {
            "generator": winner["learning_rate"],
            "discriminator": winner["discriminator_learning_rate"],
        }
    assert {individual.parent for cell in after.cells for individual in cell.own.generators} == {0}
    for cell in after.cells:
        assert cell.own.generators[0].evolved == founders[0].generators[0].evolved
        assert cell.own.discriminators[0].evolved == founders[0].discriminators[0].evolved
    (record,) = [record for record in after.records if record.slot == "cell/3"]
    assert {key: record.values[key] for key in ("r1", "batch_size", "discriminator_steps")} == {
        key: winner[key] for key in ("r1", "batch_size", "discriminator_steps")
    }
    assert record.values["generator_learning_rate"] == winner["learning_rate"]


def test_offspring_explore(grid):
    settings = {"neighbourhood": "moore", "tournament_size": 4, "score_samples": 0}
    method = grid(**EVOLVING | settings | {"explore_probability": 1.0})
    view = begun(method)
    parent = view.cells[0].own.generators[0].evolved["learning_rate"]
    _, after = trained(method, view)
    found = [cell.own.generators[0].evolved["learning_rate"] for cell in after.cells]
    ends = 1e-4, 1e-2
    near = {min(max(parent * factor, ends[0]), ends[1]) for factor in mutable.FACTORS}
    assert {*found} <= near
    assert parent not in found


def test_what_diverged_leaves_no_values(grid):
    method = grid(**EVOLVING | {"score_samples": 0})
    view = begun(method)
    _, after = trained(method, view, finite=False)
    assert [c.own.generators[0].evolved for c in after.cells] == [
        c.own.generators[0].evolved for c in view.cells
    ]


def test_discriminators_have_their_own_rate_where_it_is_given(grid):
    rates = {"mutation_probability": 0.0, "mutable": {"learning_rate": [1e-4, 1e-2]}}
    cell = begun(grid(**rates)).cells[0]
    assert [*cell.own.discriminators[0].evolved] == ["discriminator_learning_rate"]
    cell = begun(grid(**rates, discriminator_learning_rate=1e-3)).cells[0]
    assert cell.own.discriminators[0].evolved == {}
    assert cell.own.discriminators[0].learning_rate == 1e-3


def test_a_run_records_what_evolved(grid):
    method = grid(**EVOLVING | {"rounds": 3})
    ds = gd.run(method, progress=False)
    for name, low, high in [("generator_learning_rate", 1e-4, 1e-2), ("r1", 0.1, 10)]:
        assert ((ds[name] >= low) & (ds[name] <= high)).all()
        assert len(np.unique(ds[name])) > 1
    assert {*ds.batch_size.values.ravel().tolist()} <= {50, 100}
    assert ds.batch_size.attrs["units"] == "samples"
    # a batch more or less in a round: of the values that a task was given, not of the settings'
    assert len(np.unique(ds.batches)) > 1


@pytest.mark.deep
def test_it_is_the_same_on_workers_and_after_a_kill(grid, clients, assert_same, tmp_path):
    method = grid(**EVOLVING | {"rounds": 3})
    expected = gd.run(method, progress=False)
    assert_same(expected, gd.run(method, client=clients[2], progress=False))

    def die(view, records):
        if view.round == 2:
            raise KeyboardInterrupt

    kept = {"store": tmp_path / "run", "checkpoint_every": 1, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        gd.run(method, **kept, on_step=die)
    assert_same(expected, gd.run(method, resume=True, client=clients[1], **kept))
    assert_same(expected, gd.open_run(tmp_path / "run").ds)
