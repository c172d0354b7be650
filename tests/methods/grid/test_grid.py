"""The state machine of Grid and its evolution, without a cluster and mostly without networks."""

import numpy as np
import pytest

import gandask as gd
from gandask.core import Report
from gandask.execution.serial import Serial
from gandask.methods.grid import view as cells
from gandask.methods.grid.view import Cell, Individual, Population


def individuals(kind, *fitness, cell=0):
    return tuple(
        Individual(f"cell/{cell}/{kind}/{i}", cell, fitness=value)
        for i, value in enumerate(fitness)
    )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("worst", [3.0, np.inf]), ("average", [2.0, np.inf]), ("best", [1.0, np.inf])],
)
def test_fitness_is_aggregated_over_opponents(mode, expected):
    table = np.array([[1.0, 2.0, 3.0], [np.nan, 0.0, 0.0]])
    np.testing.assert_array_equal(cells.aggregate(table, mode, 1), expected)


def test_a_tournament_is_won_by_the_fittest_it_draws():
    fitness = np.array([3.0, 1.0, 2.0])
    chance = np.random.default_rng(0)
    assert {cells.tournament(fitness, 3, chance) for _ in range(20)} == {1}
    # two of three: the worst never wins, the best wins two draws in three
    won = [cells.tournament(fitness, 2, chance) for _ in range(900)]
    assert 0 not in won
    assert 0.6 < np.mean(np.array(won) == 1) < 0.73
    # one of three is no selection at all
    assert {cells.tournament(fitness, 1, chance) for _ in range(50)} == {0, 1, 2}


@pytest.mark.parametrize(
    ("own", "child", "selection", "expected"),
    [
        ((2.0,), 1.0, True, [1.0]),
        ((2.0,), 2.0, True, [2.0]),  # strictly better only
        ((2.0,), 3.0, True, [2.0]),
        ((2.0,), np.inf, True, [2.0]),
        ((2.0,), 3.0, False, [3.0]),  # without selection it always replaces its parent
        ((1.0, 5.0, 2.0), 3.0, True, [1.0, 3.0, 2.0]),  # the worst goes
        ((1.0, 5.0, 2.0), 9.0, False, [9.0, 5.0, 2.0]),
    ],
)
def test_replacement(own, child, selection, expected):
    population = Population(individuals("generator", *own), individuals("discriminator", *own))
    parents = Population(population.generators[:1], population.discriminators[:1])
    cell = Cell(0, population, parents=parents)
    newborn = Population(
        (Individual("cell/0/generator/9", 0, fitness=child),),
        (Individual("cell/0/discriminator/9", 0, fitness=child),),
    )
    survivors = cells.succeed(cell, newborn, selection)
    assert [i.fitness for i in survivors.generators] == expected
    assert [i.fitness for i in survivors.discriminators] == expected


def test_a_non_finite_offspring_is_an_event_and_discarded(grid):
    method = grid(shape=(1, 1), selection=False, score_samples=0)
    view, _ = method.start()
    values = {
        "finite": False,
        "batches": 1,
        "generator_training_loss": np.nan,
        "discriminator_training_loss": 0.0,
    }
    after, plan = method.advance(view, [Report("cell/0", 1, "train", values)])
    assert [event.kind for event in after.events] == ["non_finite"]
    assert after.cells[0].own == view.cells[0].own
    assert after.round == 1
    assert plan  # the run goes on


def test_discriminator_steps_that_contradict_others_are_refused(grid):
    with pytest.raises(gd.SettingError, match=r"discriminator_steps=5: contradicts skip_.*=1"):
        grid(discriminator_steps=5)
    method = grid(discriminator_steps=11, skip_discriminator_steps=0)
    with pytest.raises(gd.SettingError, match="discriminator_steps=11: a round of 10 batches"):
        method.check()
    grid(discriminator_steps=10, skip_discriminator_steps=0).check()


def test_advance_is_pure(grid):
    """The same view and reports give the same answer, however often it is asked."""
    method = grid()
    executor = Serial(method.seed)
    view, plan = method.start()
    for _ in range(3):
        for stage in plan:
            executor.submit(stage)
        reports = []
        while executor.queue:
            reports += executor.next_reports().values()
        before = repr(view)
        one = method.advance(view, reports)
        other = method.advance(view, reports)
        assert repr(one) == repr(other)
        assert repr(view) == before
        view, plan = one


def names_read(method, view, plan, function):
    return {
        task.slot: task.reads
        for stage in plan
        for task in stage
        if task.function.__name__ == function
    }


def test_a_cell_sees_its_neighbours_and_itself_first(grid):
    method = grid(shape=(3, 3))
    view, plan = method.start()
    reads = names_read(method, view, plan, "fitness")
    generators = [name for name in reads["cell/0"] if "generator" in name]
    assert generators == [f"cell/{i}/generator/0" for i in (0, 2, 6, 1, 3)]


def test_without_exchange_a_cell_sees_only_its_own(grid):
    method = grid(exchange=False, population_size=3)
    view, plan = method.start()
    for slot, reads in names_read(method, view, plan, "fitness").items():
        assert len(reads) == 6
        assert all(name.startswith(f"{slot}/") for name in reads)


def test_without_selection_the_first_plan_trains(grid):
    _, plan = grid(selection=False).start()
    assert [{task.function.__name__ for task in stage} for stage in plan] == [
        {"initialise"},
        {"train"},
    ]


def test_moments_travel_only_for_the_parents(grid):
    method = grid()
    executor = Serial(method.seed)
    view, plan = method.start()
    for stage in plan:
        executor.submit(stage)
    reports = [r for _ in range(8) for r in executor.next_reports().values()]
    view, plan = method.advance(view, reports)
    for reads in names_read(method, view, plan, "train").values():
        assert sum(name.endswith("/moments") for name in reads) == 2


def neighbours_by_round(method):
    ds = gd.run(method)
    counts = (ds.neighbour_cell >= 0).sum("neighbour")
    return counts.isel(row=0, col=0).values.tolist()


def test_the_neighbourhood_changes_on_schedule(grid):
    method = grid(shape=(3, 3), rounds=3, neighbourhood_schedule={2: "moore", 3: "isolated"})
    assert neighbours_by_round(method) == [5, 9, 1]


def test_the_neighbourhood_can_follow_the_view(grid):
    def widening(view):
        return "isolated" if view.round < 2 else "cross"

    method = grid(shape=(3, 3), rounds=3, neighbourhood=widening)
    assert neighbours_by_round(method) == [1, 1, 5]


def test_a_user_map_is_followed(grid):
    method = grid(shape=(1, 2), rounds=1, neighbourhood={(0, 0): [(0, 1)]})
    ds = gd.run(method)
    assert ds.neighbour_cell.isel(round=0, row=0).values.tolist() == [[0, 1], [1, -1]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_any_rectangle_runs(grid, shape):
    ds = gd.run(grid(shape=shape, rounds=1))
    assert ds.fid.shape == (1, *shape)
    assert np.isfinite(ds.final_fid).all()


@pytest.mark.parametrize("selection", [True, False])
def test_isolated_populations_train_one_pair_a_round(grid, selection):
    """IsoCoGAN and PaGAN with several individuals in a cell."""
    ds = gd.run(grid(exchange=False, population_size=3, selection=selection, shape=(1, 2)))
    assert ds.sizes["neighbour"] == 3
    assert (ds.generator_parent == np.arange(2)).all()
    assert np.isfinite(ds.generator_fitness).all()
    assert np.isfinite(ds.final_fid).all()


def test_losses_are_drawn_by_cell_and_round(grid):
    ds = gd.run(grid(loss="mustangs", rounds=4, shape=(2, 2)))
    assert set(np.unique(ds.loss)) == {"bce", "least_squares", "heuristic"}


def test_losses_can_be_drawn_by_batch(grid):
    by_round = gd.run(grid(loss="mustangs", rounds=1))
    by_batch = gd.run(grid(loss="mustangs", loss_draw="batch", rounds=1))
    assert (by_round.generator_training_loss != by_batch.generator_training_loss).any()


@pytest.mark.parametrize("evolution", ["round", "end"])
def test_mixtures_evolve_when_asked_to(grid, evolution):
    settings = {"mixture_evolution": evolution, "mixture_generations": 20, "mixture_sigma": 0.1}
    ds = gd.run(grid(**settings))
    uniform = np.allclose(ds.mixture_weight.isel(round=-1).fillna(1 / 3), 1 / 3)
    assert uniform == (evolution == "end")
    assert not np.allclose(ds.final_mixture_weight, 1 / 3)
    np.testing.assert_allclose(ds.final_mixture_weight.sum("neighbour"), 1)


def test_scores_only_at_the_end(grid):
    ds = gd.run(grid(score_samples=0, rounds=2))
    assert np.isnan(ds.fid).all()
    assert np.isfinite(ds.final_fid).all()


def test_selection_spreads_the_fittest(grid):
    """A cell whose networks cannot learn takes over its neighbour's."""
    ds = gd.run(grid(rounds=4))
    parents = ds.generator_parent.values
    own = np.arange(4).reshape(2, 2)
    assert (parents != own).any()
    neighbours = {0: {0, 1, 2}, 1: {1, 0, 3}, 2: {2, 0, 3}, 3: {3, 1, 2}}
    for round in parents:
        for cell, parent in zip(own.ravel(), round.ravel(), strict=True):
            assert parent in neighbours[cell]
