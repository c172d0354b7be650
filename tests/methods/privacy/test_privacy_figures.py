"""What is drawn of students and their clients, by its content."""

import json

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

import gandask as gd
from gandask import config
from gandask.methods.privacy import figures

ROUNDS, ATTACKS = 4, ["samples", "feedback", "discriminator"]
NETWORKS = json.dumps({"generator": 3000, "discriminator": 2000})


def dataset(clients=2, rounds=ROUNDS, **attributes):
    """Clients scored every other round: 10 times the round, and the client's number besides."""
    number = np.arange(1.0, rounds + 1)[:, None] + np.zeros(clients)
    scores = 10 * number + np.arange(clients)
    scores[::2] = np.nan
    final = 100.0 + np.arange(clients)
    areas = np.full((clients, 3), 0.5) + np.arange(3) / 10
    sent = np.zeros((rounds, 2 * clients, 3), "int64")
    sent[:, :clients, 0], sent[:, clients:, 1], sent[:, :, 2] = 800, 200, 7
    by_round, at = ("round", "client"), ("client", "attack")
    told = {"long_name": "FID", "units": "1", "better": "lower"}
    return xr.Dataset(
        {
            "fid": (by_round, scores, told),
            "fid_local": (by_round, scores / 2, told),
            "final_fid": ("client", final, told),
            "final_fid_local": ("client", final / 2, told),
            "alpha": (by_round, np.full((rounds, clients), 0.5) + np.arange(clients) / 10),
            "epsilon": (by_round, number / 4, {"long_name": "epsilon"}),
            "audit_auc": ((*by_round, "attack"), np.tile(areas - 0.1, (rounds, 1, 1))),
            "audit_auc_error": ((*by_round, "attack"), np.full((rounds, clients, 3), 0.05)),
            "final_audit_auc": (at, areas),
            "final_audit_auc_error": (at, np.full((clients, 3), 0.1)),
            "sent_bytes": (("round", "slot", "term"), sent),
        },
        {
            "round": np.arange(1, rounds + 1),
            "client": np.arange(clients),
            "attack": ATTACKS,
            "slot": [f"{role}/{i}" for role in ("client", "student") for i in range(clients)],
            "term": ["fakes", "feedback", "names"],
        },
        {"network_bytes": NETWORKS, **attributes},
    )


def columns(drawn):
    """Give of each layer its label, and what it holds along both axes."""
    return {
        layer.label: [layer.dimension_values(dim).tolist() for dim in (0, 1)] for layer in drawn
    }


# --- Quality --------------------------------------------------------------------------------------


def test_both_views_of_every_student_lie_over_the_rounds():
    drawn = figures.quality(dataset())
    assert columns(drawn) == {
        "client 0, server's view": [[2, 4], [20, 40]],
        "client 1, server's view": [[2, 4], [21, 41]],
        "client 0, client's view": [[2, 4], [10, 20]],
        "client 1, client's view": [[2, 4], [10.5, 20.5]],
    }
    assert [item.label.value for item in hv.render(drawn).legend[0].items] == [*columns(drawn)]


def test_what_clients_keep_to_themselves_is_not_drawn():
    ds = dataset()
    ds["fid_local"][:] = np.nan
    ds["final_fid_local"][:] = np.nan
    assert [*columns(figures.quality(ds))] == ["client 0, server's view", "client 1, server's view"]
    assert [*columns(figures.quality_by_alpha(ds))] == ["server's view"]


def test_of_many_clients_the_median_is_drawn():
    ds = dataset(clients=9)
    assert columns(figures.quality(ds)) == {
        "median of 9 clients, server's view": [[2, 4], [24, 44]],
        "median of 9 clients, client's view": [[2, 4], [12, 22]],
    }
    assert columns(figures.quality_by_epsilon(ds)) == {
        "median of 9 clients": [[0.5, 1.0], [24, 44]]
    }


def test_final_scores_lie_over_the_share_of_the_client_in_one_run_and_in_several():
    drawn = figures.quality_by_alpha(dataset())
    assert columns(drawn) == {
        "server's view": [[0.5, 0.6], [100, 101]],
        "client's view": [[0.5, 0.6], [50, 50.5]],
    }
    told = {"method": "privacy", "settings": ""}
    other = dataset(**told)
    other["alpha"] += 0.3
    both = gd.open_runs([dataset(seed=1, **told), other.assign_attrs(seed=2)])
    found = columns(figures.quality_by_alpha(both))["server's view"]
    assert found == [pytest.approx([0.5, 0.6, 0.8, 0.9]), [100, 101, 100, 101]]


def test_scores_lie_over_the_epsilon_spent_by_then():
    ds = dataset()
    ds["epsilon"][:, 1] = np.nan  # that client tells none
    assert columns(figures.quality_by_epsilon(ds)) == {"client 0": [[0.5, 1.0], [20, 40]]}
    ds["epsilon"][:] = np.nan
    assert figures.quality_by_epsilon(ds).data[2] == "no epsilon was spent on what is scored"


# --- Audit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "title", "first", "reach"),
    [(True, "at the end", 0.5, 0.196), (False, "round 4", 0.4, 0.098)],
)
def test_the_last_audit_is_drawn_with_intervals(ended, title, first, reach):
    ds = dataset()
    if not ended:
        ds["final_audit_auc"][:] = np.nan
    drawn = figures.audit(ds)
    segments, dots, guessing = drawn
    assert dots["area"].tolist() == pytest.approx([first, first + 0.1, first + 0.2] * 2)
    assert dots["attacker"][:2].tolist() == ["client 0: samples", "client 0: feedback"]
    assert (segments["x1"] - dots["area"]).tolist() == pytest.approx([reach] * 6)
    assert guessing.data.values.ravel().tolist() == [0.5]
    frame = hv.render(drawn)
    assert frame.title.text == f"{title}; the dashed line is guessing"
    assert frame.y_range.start > frame.y_range.end, "the first is on top"


def test_an_audit_that_nobody_told_is_not_drawn():
    ds = dataset()
    ds["final_audit_auc"][:] = ds["audit_auc"][:] = np.nan
    for rounds in (0, ROUNDS):
        assert figures.audit(ds.isel(round=slice(rounds))).data[2] == "no audit has been told yet"
    assert len(figures.audit(dataset(rounds=0)).get(1)) == 6, "the end is all that was audited"


# --- Bytes ----------------------------------------------------------------------------------------


def test_bytes_stand_beside_what_other_ways_would_send():
    drawn = figures.bytes_by_term(dataset())
    boxes, written = drawn
    assert dict(zip(boxes["term"], boxes["x1"], strict=True)) == {
        "fakes": 0.8,
        "feedback": 0.2,
        "together": 1.0,
        "instead: the discriminator": 2.0,
        "instead: federated averaging": 10.0,
    }
    assert written["told"].tolist() == [" 800 B", " 200 B", " 1 kB", " 2 kB", " 10 kB"]
    assert figures.bytes_by_term(dataset(rounds=0)).data[2] == "no round is done yet"
    assert figures.bytes_by_term(dataset().isel(term=[2])).data[2] == "nothing travelled"


@pytest.mark.parametrize(
    "told",
    [None, 7, "no JSON", "[" * 100_000, "[1, 2]", '{"generator": 1}']
    + [NETWORKS.replace("2000", other) for other in ("NaN", "-1", '"2"', "true")],
    ids=range(10),
)
def test_of_sizes_that_a_stranger_wrote_nothing_is_drawn(told):
    drawn = figures.bytes_by_term(dataset(network_bytes=told))
    assert drawn.get(0)["term"].tolist() == ["fakes", "feedback", "together"]


# --- Of runs --------------------------------------------------------------------------------------


def test_every_figure_is_drawn_of_a_run():
    method = gd.PrivacyGAN(
        data="ring8", base="small_mlp", batch_size=20, iterations=4, score_every=2, audit_every=2,
        score_samples=100, final_samples=100, audit_samples=50,
    )  # fmt: skip
    ds = gd.run(method, progress=False)
    assert [*method.figures()] == ["quality", "quality_by_alpha", "audit", "bytes", "modes"]
    known = config.replace(method, {"privacy": gd.DPSGD()}).figures()
    own = ["quality", "quality_by_alpha", "audit", "quality_by_epsilon", "bytes"]
    assert [*known] == [*own, "modes"]
    for figure in known.values():
        assert set(figure.needs) <= set(ds)
        for rounds in (1, 4):
            hv.render(figure.draw(ds.isel(round=slice(rounds))))
    sizes = dict(
        zip(*(figures.bytes_by_term(ds).get(0)[key] for key in ("term", "x1")), strict=True)
    )
    assert sizes["fakes"] == sizes["feedback"] == 20 * 2 * 4 / 1000
    layers = [(2, 128), (128, 128), (128, 1)]
    discriminator = 4 * sum(wide * high + high for wide, high in layers)
    assert json.loads(ds.attrs["network_bytes"])["discriminator"] == discriminator
