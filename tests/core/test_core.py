"""The nouns: tasks have names and keys, slots have places, draws have streams."""

import numpy as np
import pytest

from gandask.core import (
    Figure,
    Layout,
    MethodError,
    Report,
    Role,
    Task,
    Variable,
    rng,
    seed_sequence,
    slot_of,
    torch_seed,
)


class Called:
    def __call__(self):
        return (), {}


def test_a_task_is_called_by_its_function_or_by_its_own_name():
    def work():
        return (), {}

    assert Task("cell/0", 1, work).key == ("cell/0", 1, "work")
    assert Task("cell/0", 1, work, name="other").key == ("cell/0", 1, "other")
    assert Task("cell/0", 1, Called()).name == "Called"
    assert Report("cell/0", 1, "work", {}).key == Task("cell/0", 1, work).key


def test_tasks_of_one_function_and_another_name_are_of_two_kinds():
    def work():
        return (), {}

    assert Task("cell/0", 1, work).kind == Task("cell/1", 1, work).kind
    assert Task("cell/0", 1, work).kind != Task("cell/1", 1, work, name="other").kind


def test_the_slot_of_a_state_is_the_beginning_of_its_name():
    assert slot_of("node/3/weights/7") == "node/3"


# ---- layouts

NODES = Role.numbered("node", ["node"], 3)
SERVER = Role((), ("server/0",))
COORDS = {"node": range(3), "member": ("a", "b")}
DISTANCE = Variable("distance", role="node")


def layout(roles=None, variables=None, coords=COORDS):
    return Layout(coords, roles or {"node": NODES}, variables or {"distance": DISTANCE})


def test_slots_of_one_role_lie_along_its_unit():
    torus = Role.numbered("cell", ["row", "col"], 6)
    made = layout({"cell": torus}, {"x": Variable("x")}, {"row": range(2), "col": range(3)})
    assert made.unit == ("row", "col")
    assert made.positions["cell/4"] == made.slots["cell/4"] == (1, 1)


def test_slots_of_several_roles_lie_along_one_dimension():
    made = layout({"server": SERVER, "node": NODES})
    assert made.unit == ("slot",)
    assert [*made.positions.items()] == [
        ("server/0", (0,)),
        ("node/0", (1,)),
        ("node/1", (2,)),
        ("node/2", (3,)),
    ]
    # those of one of them still lie along its own
    assert made.slots["node/2"] == (2,)
    assert made.slots["server/0"] == ()


def of(**changes):
    return {"distance": Variable(**{"long_name": "distance", "role": "node"} | changes)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: layout({"node": NODES, "other": Role.numbered("other", ["node"], 3)}),
            "two roles share the unit 'node'",
        ),
        (
            lambda: layout({"node": Role.numbered("node", ["place"], 3)}),
            "role 'node' lies along 'place', which is not in coords",
        ),
        (lambda: layout({"node": Role.numbered("node", ["node"], 2)}), "2 slots for 3 places"),
        (lambda: layout({"node": Role.numbered("nod", ["node"], 3)}), "expected node/NUMBER"),
        (lambda: layout({"server": Role((), ("server",))}), "expected server/NUMBER"),
        (lambda: layout(variables=of(long_name="")), "'distance' has no long_name"),
        (lambda: layout(variables=of(units="")), "'distance' has no units: '1' for a pure number"),
        (lambda: layout(variables=of(role="nodes")), r"of role 'nodes': expected \['node'\]"),
        (lambda: layout(variables=of(dims=("time",))), "lies along 'time', which is not in coords"),
        (lambda: layout(variables=of(better="less")), "expected better in"),
        (lambda: layout(variables=of(shown=("everywhere",))), "and shown among"),
        (lambda: layout(variables=of(final_of="score")), "is final_of 'score', which there is not"),
        (lambda: Figure("Mine", print, takes=("colour",)), "figure 'Mine' takes"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(make, message):
    with pytest.raises(MethodError, match=message):
        make()


def test_text_and_truth_need_no_units():
    assert layout(variables=of(units="", dtype="str"))
    assert layout(variables=of(units="", dtype="bool"))


def test_a_variable_says_what_there_is_to_say():
    assert Variable("x").attributes == {"long_name": "x", "units": "1"}
    told = Variable("x", "s", (), role="node", better="lower", shown=("map", "report"), timing=True)
    assert told.attributes == {
        "long_name": "x",
        "units": "s",
        "role": "node",
        "better": "lower",
        "shown": "map report",
        "timing": 1,
    }


# ---- draws


def test_streams_differ_by_every_part_of_their_key():
    keys = [(1, 3, "cell/0", "a"), (2, 3, "cell/0", "a"), (1, 4, "cell/0", "a")]
    keys += [(1, 3, "cell/1", "a"), (1, 3, "cell/0", "b"), (1, 3, "cell/0")]
    draws = {tuple(seed_sequence(*key).generate_state(4)) for key in keys}
    assert len(draws) == len(keys)


def test_streams_are_reproducible():
    np.testing.assert_array_equal(rng(1, "x").normal(size=9), rng(1, "x").normal(size=9))


def test_torch_seeds_fit_torch():
    seeds = [torch_seed(1, number) for number in range(100)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    assert len(set(seeds)) == 100
