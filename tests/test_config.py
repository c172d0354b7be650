"""Settings: what is refused and in which words, and TOML that gives back exactly what was set."""

import contextlib
import dataclasses
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandask import METHODS, METRICS, NETWORKS, Grid, SettingError, config
from gandask.core import Layout, Method, MethodError
from gandask.methods.grid.topology import NEIGHBOURHOODS
from gandask.presets import source
from gandask.training.losses import LOSSES

NAN, INF = float("nan"), float("inf")
READ_ONLY = dataclasses.FrozenInstanceError

# Settings, then what the message has to say: key and value come first, then the remedy.
REFUSED = [
    # misspelt keys
    ({"batchsize": 10}, "batchsize=10", "Grid has no setting 'batchsize'", "'batch_size'?"),
    ({"Rounds": 3}, "Rounds=3", "did you mean 'rounds'?"),
    ({"xyzzy": 1}, "xyzzy=1", "known are: shape, rounds, ", ", seed"),
    ({"self": 1}, "self=1", "no setting 'self'"),
    ({"name": "mine"}, "name='mine'", "no setting 'name'"),
    # bounds
    ({"rounds": 0}, "rounds=0", "at least 1"),
    ({"batch_size": -5}, "batch_size=-5", "at least 1"),
    ({"shape": (0, 2)}, "shape=(0, 2)", "at least 1"),
    ({"shape": (2, -1)}, "shape=(2, -1)", "at least 1"),
    ({"seed": -1}, "seed=-1", "at least 0"),
    ({"torch_threads": 10**9}, "torch_threads=1000000000", "at least 1 and at most 1024"),
    ({"latent": 0}, "latent=0", "at least 1"),
    ({"latent": 10**12}, "latent=1000000000000", "at most 1048576"),
    ({"learning_rate": 0}, "learning_rate=0:", "a finite number of more than 0"),
    ({"data_fraction": 0.0}, "data_fraction=0.0", "more than 0 and at most 1"),
    ({"data_fraction": 1.01}, "data_fraction=1.01", "at most 1"),
    ({"mutation_probability": 7.5}, "mutation_probability=7.5", "at least 0 and at most 1"),
    ({"mutation_probability": -0.1}, "mutation_probability=-0.1", "at least 0"),
    ({"adam_betas": (0.5, 1.1)}, "adam_betas=(0.5, 1.1)", "a list of 2", "at least 0 and"),
    ({"mutation_probability": NAN}, "mutation_probability=nan", "a finite number"),
    ({"adam_betas": (NAN, 0.9)}, "adam_betas=(nan, 0.9)", "a finite number"),
    ({"learning_rate": INF}, "learning_rate=inf", "a finite number"),
    ({"mixture_sigma": INF}, "mixture_sigma=inf", "a finite number"),
    ({"learning_rate": 10**400}, "learning_rate=1000", "expected a finite number"),
    # types
    ({"rounds": "3"}, "rounds='3'", "expected a whole number"),
    ({"rounds": 3.0}, "rounds=3.0", "expected a whole number"),
    ({"rounds": None}, "rounds=None", "expected a whole number"),
    ({"rounds": True}, "rounds=True", "expected a whole number"),
    ({"latent": False}, "latent=False", "expected a whole number"),
    ({"learning_rate": True}, "learning_rate=True", "expected a finite number"),
    ({"learning_rate": np.True_}, "learning_rate=np.True_", "expected a finite number"),
    ({"learning_rate": "fast"}, "learning_rate='fast'", "expected a finite number"),
    ({"exchange": 1}, "exchange=1", "expected true or false"),
    ({"exchange": "yes"}, "exchange='yes'", "expected true or false"),
    ({"network": 3}, "network=3", "expected a name"),
    ({"loss": 3}, "loss=3", "expected a name or a list, each a name"),
    ({"loss": ["bce", 3]}, "loss=['bce', 3]", "expected a name or a list, each a name"),
    ({"shape": 3}, "shape=3", "expected a list of 2, each a whole number"),
    ({"shape": (3,)}, "shape=(3,)", "expected a list of 2"),
    ({"shape": (3, 3, 3)}, "shape=(3, 3, 3)", "expected a list of 2"),
    ({"shape": "33"}, "shape='33'", "expected a list of 2"),
    ({"shape": (3, 2.5)}, "shape=(3, 2.5)", "each a whole number"),
    ({"neighbourhood_schedule": ["moore"]}, "neighbourhood_schedule=['moore']", "a table"),
    # names
    ({"network": "mpl"}, "network='mpl'", "no such network", "did you mean 'mlp'?"),
    ({"loss": "bse"}, "loss='bse'", "no such loss", "did you mean 'bce'?"),
    ({"loss": ("bce", "hingé")}, "loss='hingé'", "did you mean 'hinge'?"),
    ({"loss": "mustang"}, "loss='mustang'", "did you mean 'mustangs'?"),
    ({"data": "mnits"}, "data='mnits'", "did you mean 'mnist'?", "path"),
    ({"score": "fdi"}, "score='fdi'", "did you mean 'fid'?"),
    ({"score": "kid"}, "score='kid'", "follows from sums over samples", "final_scores=['kid']"),
    ({"final_scores": ("recal",)}, "final_scores=", "did you mean 'recall'?"),
    ({"activation": "rel"}, "activation='rel'", "did you mean 'relu'?"),
    ({"fitness_mode": "median"}, "fitness_mode='median'", "one of worst, average, best"),
    ({"device": "tpu"}, "device='tpu'", "one of auto, cpu, cuda"),
    ({"features": "inceptoin"}, "features='inceptoin'", "did you mean 'inception'?"),
    ({"data": ""}, "data=''", "no such data set"),
    ({"loss": ()}, "loss=[]", "expected a name in LOSSES"),
    ({"loss": ("mustangs", "bce")}, "loss='mustangs'", "no such loss"),
    ({"adam_betas": (0.5, 1.0)}, "adam_betas=(0.5, 1.0)", "less than 1"),
    # neighbourhoods
    ({"neighbourhood": "crss", "exchange": False}, "neighbourhood='crss'", "cross, moore"),
    ({"neighbourhood_schedule": {"²": "moore"}}, "neighbourhood_schedule=", "not '²'"),
    ({"neighbourhood": "crss"}, "neighbourhood='crss'", "cross, moore, ring, isolated"),
    ({"neighbourhood": ["cross"]}, "neighbourhood=['cross']", "a map from (row, col)"),
    ({"neighbourhood": {(0, 0): [(0, 9)]}}, "neighbourhood", "(0, 9)", "columns to 1"),
    ({"neighbourhood": {(5, 0): [(0, 0)]}}, "neighbourhood", "(5, 0)", "rows go from 0 to 1"),
    ({"neighbourhood": {"0,0": ["-1,0"]}}, "neighbourhood", "(-1, 0)", "not in a grid of 2×2"),
    ({"neighbourhood": {"0;0": []}}, "neighbourhood", "'0;0'", "expected (row, col)"),
    ({"neighbourhood": {(0, 0): 1}}, "neighbourhood", "(0, 0)", "1: expected a list"),
    ({"neighbourhood": {(0, 0): "0,1"}}, "neighbourhood", "'0,1': expected a list"),
    # schedules
    ({"neighbourhood_schedule": {0: "moore"}}, "neighbourhood_schedule={0:", "rounds from 1"),
    ({"neighbourhood_schedule": {-3: "moore"}}, "neighbourhood_schedule=", "not -3"),
    ({"neighbourhood_schedule": {"ten": "moore"}}, "neighbourhood_schedule=", "not 'ten'"),
    ({"neighbourhood_schedule": {True: "moore"}}, "neighbourhood_schedule=", "not True"),
    ({"neighbourhood_schedule": {5: "moor"}}, "neighbourhood_schedule='moor'", "cross, moore"),
    ({"neighbourhood_schedule": {5: {(0, 0): [(7, 7)]}}}, "(7, 7)", "not in a grid of 2×2"),
    # tournaments larger than the smallest sub-population
    ({"tournament_size": 0}, "tournament_size=0", "at least 1"),
    ({"tournament_size": 4}, "tournament_size=4", "only 3 individuals", "at most 3"),
    ({"tournament_size": 10, "shape": (3, 3), "neighbourhood": "moore"}, "=10", "at most 9"),
    ({"tournament_size": 4, "exchange": False, "population_size": 3}, "=4", "at most 3"),
    (
        {"tournament_size": 5, "shape": (3, 3), "neighbourhood_schedule": {9: "ring"}},
        "tournament_size=5",
        "at most 3",
    ),
]


@pytest.mark.parametrize(("given", "said"), [(case[0], case[1:]) for case in REFUSED], ids=str)
def test_refusals_name_key_value_and_remedy(given, said):
    with pytest.raises(SettingError) as caught:
        Grid(**given)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"mutation_probability": 0, "mutation_scale": 0, "mixture_sigma": 0, "score_samples": 0},
        {"mutation_probability": 1, "data_fraction": 1, "seed": 0, "mixture_generations": 0},
        {"adam_betas": (0, 0.99), "skip_discriminator_steps": 0},
        {"rounds": 1, "shape": (1, 1), "batch_size": 1, "latent": 1, "image_size": 1},
        {"tournament_size": 3},
        {"tournament_size": 9, "shape": (3, 3), "neighbourhood": "moore"},
        {"tournament_size": 9, "selection": False},
        {"shape": (1, 1)},  # tournaments of two have nothing to choose from: no mistake
    ],
    ids=str,
)
def test_values_on_their_bounds_are_taken(given):
    made = Grid(**given)
    for key, value in given.items():
        assert getattr(made, key) == value


def test_settings_go_by_name():
    with pytest.raises(SettingError, match="Grid takes settings by name only, such as seed=1"):
        Grid((2, 2))


def test_settings_are_frozen():
    method = Grid(rounds=3)
    with pytest.raises(READ_ONLY, match="rounds"):
        method.rounds = 4
    with pytest.raises(READ_ONLY, match="typo"):
        method.typo = 4
    with pytest.raises(READ_ONLY):
        del method.seed
    assert method == Grid(rounds=3)


def test_a_changed_copy_is_checked_too():
    assert dataclasses.replace(Grid(), rounds=7) == Grid(rounds=7)
    with pytest.raises(SettingError, match="rounds=-7"):
        dataclasses.replace(Grid(), rounds=-7)


def test_values_get_the_type_of_their_setting():
    made = Grid(shape=[np.int64(3), 4], learning_rate=1, loss=["bce", "hinge"], adam_betas=[0, 0.9])
    assert (made.shape, made.learning_rate, made.loss) == ((3, 4), 1.0, ("bce", "hinge"))
    kinds = {type(value) for value in (*made.shape, made.learning_rate, *made.adam_betas)}
    assert kinds == {int, float}
    assert Grid(rounds=np.int32(3), learning_rate=np.float32(0.5)) == Grid(
        rounds=3, learning_rate=0.5
    )


def test_default_tables_are_not_shared():
    assert Grid().neighbourhood_schedule is not Grid().neighbourhood_schedule
    assert Grid().neighbourhood_schedule == {}


def test_paths_become_text():
    folder = Path("some") / "where"
    assert Grid(data_dir=folder, inception_weights=folder) == Grid(
        data_dir=str(folder), inception_weights=str(folder)
    )


def test_every_setting_is_described():
    for field in dataclasses.fields(Grid):
        assert field.metadata["help"], field.name
        assert set(field.metadata) <= {
            "help",
            "minimum",
            "above",
            "maximum",
            "below",
            "choices",
            "suggested",
            "function",
        }


# --- Settings of a user's own ---------------------------------------------------------------------


@config.settings
class Noise:
    """Settings within settings."""

    scale: float = config.setting(1.0, "of the noise", above=0)


@config.settings
class Own(Method):
    """A method that needs no more than gandask.core and gandask.config."""

    name: ClassVar[str] = "own"
    schedules: ClassVar[Mapping[str, str]] = {"rate": "rate_schedule"}

    rounds: int = config.setting(3, "rounds", minimum=1)
    rate: float = config.setting(1, "of what is learnt", above=0)
    rate_schedule: Mapping[str, float] = config.setting({}, "rates from given rounds on", above=0)
    mode: Literal["plain", "fancy"] = config.setting("plain", "how")
    labels: tuple[str, ...] = config.setting(("a",), "which", choices=("a", "b"))
    noise: Noise | None = config.setting(None, "added")
    draw: Callable[[int], int] | None = config.setting(None, "a function")
    seed: int = config.setting(1, "of every random draw")

    def layout(self):
        return Layout({}, {}, {})

    def start(self):
        raise NotImplementedError

    def advance(self, view, reports):
        raise NotImplementedError


OWN = {
    "rate": np.float64(2),
    "rate_schedule": {"04": 3, 2: np.float32(0.5)},
    "mode": "fancy",
    "labels": ["b", "a"],
    "noise": Noise(scale=2),
    "draw": abs,
}


def test_a_users_settings_get_their_types():
    made = Own(**OWN)
    assert (made.rate, made.labels, made.noise, made.draw) == (2.0, ("b", "a"), Noise(scale=2), abs)
    assert (type(made.rate), type(Own().rate)) == (float, float)
    assert made == dataclasses.replace(made) != Own()


def test_schedules_are_read_and_looked_up_by_round():
    made = Own(**OWN)
    assert made.rate_schedule == {"4": 3.0, "2": 0.5}
    assert [config.in_force(made, "rate", round) for round in range(1, 6)] == [2, 0.5, 0.5, 3, 3]
    assert config.in_force(Own(), "rate", 9) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate_schedule": {0: 1.0}}, "rate_schedule={0: 1.0}: expected rounds from 1 as keys"),
        (
            {"rate_schedule": {"3": 0}},
            "rate_schedule={'3': 0}: expected a table, each a finite number of more than 0",
        ),
        ({"rate_schedule": 5}, "rate_schedule=5: expected a table, each a finite number of more"),
        ({"mode": "fance"}, "mode='fance': expected one of plain, fancy"),
        ({"labels": {"a"}}, "labels={'a'}: expected a list, each one of a, b"),
        (
            {"labels": ["a", "bb"]},
            "labels=['a', 'bb']: expected a list, each one of a, b; did you mean 'b'?",
        ),
        ({"noise": 2}, "noise=2: expected Noise"),
        ({"noise": {"scale": 0}}, "noise.scale=0: expected a finite number of more than 0"),
        ({"noise": {"scael": 2}}, "noise.scael=2: Noise has no setting 'scael'; did you mean 's"),
        ({"noise": {0: 2}}, "noise.0=2: Noise has no setting '0'"),
        ({"draw": 3}, "draw=3: expected Callable"),
        ({"rounds": np.int64(0)}, "rounds=np.int64(0): expected a whole number of at least 1"),
        ({"rate": np.float32("nan")}, "rate=np.float32(nan): expected a finite number of more"),
    ],
    ids=str,
)
def test_a_users_settings_are_refused_in_the_same_words(given, said):
    with pytest.raises(SettingError) as caught:
        Own(**given)
    assert str(caught.value).startswith(said)
    assert "pydantic" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_within_settings_are_a_table_in_toml():
    made = Own(noise=Noise(scale=2))
    assert Own(noise={"scale": 2}) == made != Own()
    assert len({made, Own(noise={"scale": 2.0})}) == 1
    assert tomllib.loads(config.to_toml(made))["noise"] == {"scale": 2.0}
    assert config.from_toml(config.to_toml(made), {"own": Own}) == made
    assert config.unchecked({"noise": {"scale": 2.0}}, Own) == made
    assert config.replace(made, {"noise": None}) == Own()

    class Louder(Noise):
        pass

    assert config.to_dict(Own(noise=Louder(scale=3)))["noise"] == {"scale": 3.0}


@pytest.mark.parametrize(
    "assignments",
    [("noise.scale=2",), ("noise.scale=2", "noise={scale=3.0}"), ("noise={scale=2}",)],
)
@pytest.mark.parametrize("table", [{}, {"noise": {"scale": 1.0}}])
def test_the_shell_sets_what_is_within_settings(table, assignments):
    told = source.read_where({"rounds": 3, **table}, (*assignments, "cluster.workers=4"), {})
    assert told == {
        "rounds": 3,
        "noise": {"scale": 2},
        "cluster": {"workers": 4},
        "heartbeat": {},
    }
    told = source.read_where({"rounds": 3}, ("rounds.x=1",), {})
    assert told["rounds.x"] == 1, "there is no such setting"


def test_a_subclass_that_adds_nothing_is_checked_too():
    class Child(Own):
        name = "child"

    assert repr(Child(rounds=4)) == "Child(rounds=4)"
    with pytest.raises(SettingError, match="rounds=0"):
        Child(rounds=0)


@pytest.mark.parametrize("pair", [{"rate": "rate_schedul"}, {"rat": "rate_schedule"}], ids=str)
def test_a_schedule_that_is_no_setting_is_refused(pair):
    with pytest.raises(MethodError, match=r"Bad.schedules names 'rat.*did you mean 'rate"):
        config.settings(type("Bad", (Own,), {"schedules": pair, "__annotations__": {}}))


# --- TOML -----------------------------------------------------------------------------------------

OTHER = Grid(
    shape=(2, 3),
    rounds=7,
    data="sub/folder.zip",
    data_dir='quo"te\\ \n\t\r\x7f\u0000é',
    download=True,
    image_size=32,
    skip_unreadable=True,
    labelled=50,
    data_fraction=1e-300,
    batch_size=3,
    epochs_per_round=2,
    network="dcgan",
    activation="tanh",
    initial_std=0.02,
    latent=5,
    loss=("bce", "hinge", "bce"),
    loss_draw="batch",
    learning_rate=5e-324,
    discriminator_learning_rate=1e-3,
    learning_rate_half_life=7,
    gradient_accumulation=2,
    ema=0.9,
    r1=0.1,
    r1_every=3,
    augment="cutout",
    dragan=1e-9,
    adam_betas=(0.0, 0.1 + 0.2),
    neighbourhood={(0, 0): [(1, 2), (0, 1)], (1, 2): [(0, 0)]},
    neighbourhood_schedule={3: "moore", 10: {(0, 1): [(1, 1)]}},
    exchange=False,
    selection=False,
    population_size=4,
    tournament_size=3,
    mutation_probability=1 / 3,
    mutation_scale=1.7976931348623157e308,
    explore_probability=0.25,
    skip_discriminator_steps=0,
    discriminator_steps=2,
    init="runs/teacher",
    training_order="discriminator_first",
    fitness_mode="worst",
    fitness_samples=11,
    score="tvd",
    score_samples=17,
    shown_samples=5,
    final_samples=13,
    final_scores=("kid", "recall"),
    mixture_sigma=1e22,
    keep_best=True,
    mixture_generations=5,
    mixture_evolution="end",
    features="coordinates",
    inception_weights="weights.pth",
    precision="high",
    device="cpu",
    torch_threads=2,
    seed=2**70,
)


def through_toml(method):
    return config.from_toml(config.to_toml(method), METHODS)


@pytest.mark.parametrize(
    "tables",
    [
        [{}, {}],
        [
            {"mutation_scale_schedule": {2: 0.1, 3: 1}},
            {"mutation_scale_schedule": {3: 1.0, 2: 0.1}},
        ],
        [{"neighbourhood": {(0, 0): [(1, 1)]}}, {"neighbourhood": {(0, 0): [(1, 1)]}}],
        [{"loss": ["bce", "hinge"]}, {"loss": ("bce", "hinge")}],
    ],
)
def test_equal_settings_have_the_same_hash(tables):
    one, other = (Grid(shape=(2, 2), **table) for table in tables)
    assert one == other
    assert len({one, other, Grid(shape=(2, 2), seed=2)}) == 2


def test_toml_gives_back_every_setting():
    defaults = Grid()
    same = [f.name for f in dataclasses.fields(Grid) if getattr(OTHER, f.name) == f.default]
    assert same == [], "OTHER is to differ from the defaults everywhere"
    assert through_toml(OTHER) == OTHER != defaults == through_toml(defaults)
    for field in dataclasses.fields(Grid):
        one, other = getattr(OTHER, field.name), getattr(through_toml(OTHER), field.name)
        assert (type(one), repr(one)) == (type(other), repr(other)), field.name


def test_toml_is_written_the_same_again():
    text = config.to_toml(OTHER)
    assert config.to_toml(config.from_toml(text, METHODS)) == text


def test_user_maps_are_written_with_their_cells_as_text():
    table = tomllib.loads(config.to_toml(OTHER))
    assert table["neighbourhood"] == {"0,0": ["1,2", "0,1"], "1,2": ["0,0"]}
    assert table["neighbourhood_schedule"] == {"3": "moore", "10": {"0,1": ["1,1"]}}
    assert table["method"] == "grid"
    assert "latent" not in tomllib.loads(config.to_toml(Grid())), "TOML has no word for None"


@pytest.mark.parametrize("number", [1e-300, 1e300, 0.1, 1e16, 123456789.123456789, 1e-5, 2**0.5])
def test_toml_keeps_every_bit_of_a_float(number):
    assert through_toml(Grid(mutation_scale=number)).mutation_scale == number


def cells(shape):
    return st.tuples(*(st.integers(0, extent - 1) for extent in shape))


def neighbourhoods(shape):
    lists = st.lists(cells(shape), max_size=4)
    return st.sampled_from(sorted(NEIGHBOURHOODS)) | st.dictionaries(cells(shape), lists)


@st.composite
def grids(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    names = st.sampled_from(sorted(LOSSES))
    positive = st.floats(0, exclude_min=True, allow_infinity=False)
    share = st.floats(0, 1)
    optional = {
        "image_size": st.none() | st.integers(1, 10**6),
        "latent": st.none() | st.integers(1, 2**20),
        "data_dir": st.none() | st.text(st.characters(codec="utf-8")),
        "loss": names | st.just("mustangs") | st.lists(names, min_size=1, max_size=4).map(tuple),
        "network": st.sampled_from(sorted(NETWORKS)),
        "score": st.sampled_from(sorted(METRICS)),
        "learning_rate": positive,
        "mutation_scale": positive,
        "data_fraction": st.floats(0, 1, exclude_min=True),
        "adam_betas": st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
        "mutation_probability": share,
        "rounds": st.integers(1),
        "seed": st.integers(0),
        "exchange": st.booleans(),
        "selection": st.booleans(),
        "neighbourhood": neighbourhoods(shape),
        "neighbourhood_schedule": st.dictionaries(
            st.integers(1, 99), neighbourhoods(shape), max_size=3
        ),
    }
    chosen = draw(st.fixed_dictionaries({}, optional=optional))
    return Grid(shape=shape, tournament_size=1, **chosen)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(grids())
def test_any_settings_survive_toml(method):
    again = through_toml(method)
    assert again == method
    assert config.to_toml(again) == config.to_toml(method)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.text() | st.from_regex(r"[a-z_]{1,12} = [\[\]{}0-9a-z\"',.]{0,12}", fullmatch=True))
def test_any_text_is_a_method_or_refused(text):
    with contextlib.suppress(SettingError):  # and no other error
        assert isinstance(config.from_toml(text, METHODS), Grid)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml", "expected TOML such as 'seed = 1'"),
        ("seed = ", "expected TOML"),
        ("seed = 1\nseed = 2", "expected TOML"),
        ("x = " + "[" * 5000, "expected TOML"),
        ("seed = " + "9" * 5000, "expected TOML"),
        ("learning_rate = 1e999", "learning_rate=inf: expected a finite number"),
        ('method = "gird"', "method='gird': there is no such method; did you mean 'grid'?"),
        ("method = 3", "method='3': there is no such method"),
        ("sede = 1", "did you mean 'seed'?"),
        ("self = 1", "no setting 'self'"),
        ("seed = 2020-01-01", "seed=datetime.date(2020, 1, 1): expected a whole number"),
        ("learning_rate = nan", "learning_rate=nan: expected a finite number"),
        ("[grid]\nseed = 1", "grid={'seed': 1}: Grid has no setting 'grid'"),
    ],
)
def test_junk_is_refused(text, said):
    with pytest.raises(SettingError, match=re.escape(said)):
        config.from_toml(text, METHODS)


def test_the_method_is_grid_unless_named():
    assert config.from_toml("seed = 3", METHODS) == Grid(seed=3)
    assert config.from_toml("", METHODS) == Grid()


def test_from_dict_leaves_its_table_alone():
    table = {"method": "grid", "seed": 3}
    assert config.from_dict(table, METHODS) == Grid(seed=3)
    assert table == {"method": "grid", "seed": 3}


def test_a_function_has_no_toml_but_a_likeness():
    method = Grid(neighbourhood=lambda view: "cross")
    with pytest.raises(SettingError, match=r"neighbourhood=<function.*'package.module:name'"):
        config.to_toml(method)
    table = tomllib.loads(config.to_toml(method, strict=False))
    assert table["neighbourhood"].startswith("<function")
    assert table["seed"] == 1


def test_a_named_function_survives_toml():
    method = Grid(neighbourhood="gandask.methods.grid.topology:cross")
    assert through_toml(method) == method


# --- Words on the command line, and names of objects ---------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rounds=20", ("rounds", 20)),
        ("learning_rate=2e-4", ("learning_rate", 2e-4)),
        ("exchange=false", ("exchange", False)),
        ("shape=[3, 4]", ("shape", [3, 4])),
        ('loss=["bce", "hinge"]', ("loss", ["bce", "hinge"])),
        ("network=mlp", ("network", "mlp")),
        ('network="mlp"', ("network", "mlp")),
        (" network = mlp ", ("network", "mlp")),
        ("data=a=b/c.npy", ("data", "a=b/c.npy")),
        ("data=C:\\images", ("data", "C:\\images")),
        ("data=", ("data", "")),
        ("data=" + "9" * 5000, ("data", "9" * 5000)),
        ("seed=1\nrounds=5", ("seed", "1\nrounds=5")),
        ('neighbourhood={"0,0" = ["0,1"]}', ("neighbourhood", {"0,0": ["0,1"]})),
    ],
)
def test_assignments(text, expected):
    key, value = config.parse_assignment(text)
    assert (key, value, type(value)) == (*expected, type(expected[1]))


@pytest.mark.parametrize("text", ["rounds", "", "=3", " =3"])
def test_assignments_need_key_and_value(text):
    with pytest.raises(SettingError, match="expected key=value, such as --set rounds=20"):
        config.parse_assignment(text)


def test_objects_load_by_reference():
    assert config.load_object("gandask.methods.grid.topology:cross") is NEIGHBOURHOODS["cross"]


@pytest.mark.parametrize(
    "name", ["no.such:thing", "gandask.topology:crss", "gandask", "", ":x", ".x:y"]
)
def test_references_that_lead_nowhere_are_refused(name):
    with pytest.raises(SettingError, match=f"{name!r}: expected 'package.module:name'"):
        config.load_object(name)


def test_what_is_no_utf_8_cannot_be_written_down():
    for path in ("d_\udcff.npy", Path("d_\udcff.npy")):
        with pytest.raises(SettingError, match=r"data=.*d_.udcff.*: .*set PYTHONUTF8=1"):
            Grid(data=path)
    assert Grid(data="d_ö.npy").data == "d_ö.npy"
