"""The audit as a whole: on discriminators that have seen members, and that have not."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from gandask import data
from gandask.clients import auditing
from gandask.clients.auditing import ATTACKS, RATES, Audit
from gandask.core import DataError, rng
from gandask.training.losses import LOSSES
from gandask.training.networks import NETWORKS, build

CPU = torch.device("cpu")
MEMBERS = 180
NAN = math.nan


@pytest.fixture(scope="module")
def digits():
    """All digits in random order: the first of them are members."""
    loaded = data.load("digits", image_size=8)
    return loaded.batch(rng(1, "order").permutation(len(loaded))).numpy()


def new(kind, network="small_mlp"):
    made = NETWORKS[network]
    given = (made.latent,) if kind == "generator" else ()
    return build(lambda: getattr(made, kind)((1, 8, 8), *given, 0, None), seed=1)


def trained(members, fakes, steps=150):
    """Train a discriminator on members against what a perfect generator would make."""
    judge = new("discriminator")
    optimiser = torch.optim.Adam(judge.parameters(), 2e-3)
    real, fakes = torch.from_numpy(members), torch.from_numpy(fakes)
    for _ in range(steps):
        value = LOSSES["bce"].discriminator(judge(real), judge(fakes))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return judge


def audited(digits, judge, loss="bce", unit=False, key=0, **changed):
    given = {
        "members": digits[:MEMBERS],
        "held_out": digits[MEMBERS:1180],
        "generated": np.clip(digits[:MEMBERS] + 0.1, -1, 1).astype(np.float32),
        "calibration": digits[-200:],
    }
    options = {"unit": unit, "batch_size": 64, "device": CPU, "chance": rng(key, "audit")}
    return auditing.audit(judge, LOSSES[loss], **given | changed, **options)


@pytest.fixture(scope="module")
def overfitted(digits):
    return trained(digits[:MEMBERS], digits[1180:1580])


@pytest.mark.parametrize("unit", [False, True])
def test_members_of_an_overfitted_discriminator_are_told(digits, overfitted, unit):
    before = copy.deepcopy(overfitted.state_dict())
    found = audited(digits, overfitted, unit=unit)
    assert all(found.auc[attack] > 0.7 for attack in ATTACKS), found
    assert all(0 < found.error[attack] < 0.05 for attack in ATTACKS)
    for rates in found.tpr.values():
        values = [value for value, _, _ in rates]
        assert values == sorted(values, reverse=True)
        assert all(low <= value <= high for value, low, high in rates)
        assert all(value > rate for value, rate in zip(values, RATES, strict=True))
    assert found.memorised > 0.9
    assert all(torch.equal(part, before[name]) for name, part in overfitted.state_dict().items())
    assert audited(digits, overfitted, unit=unit) == found


@pytest.mark.parametrize(
    ("network", "loss"), [("small_mlp", "bce"), ("dcgan", "bce"), ("wgan", "wgan_gp")]
)
@pytest.mark.parametrize("unit", [False, True])
def test_nobody_tells_members_of_untrained_networks(digits, network, loss, unit):
    generator = new("generator", network).eval()
    latent = torch.randn(200, NETWORKS[network].latent, generator=torch.Generator().manual_seed(2))
    generated = generator(latent).detach().numpy()
    judge = new("discriminator", network)
    few = digits[MEMBERS : 2 * MEMBERS]
    found = audited(digits, judge, loss, unit, generated=generated, held_out=few)
    for attack in ATTACKS:
        assert abs(found.auc[attack] - 0.5) <= 3 * found.error[attack], attack


def test_many_candidates_are_drawn_from(digits, monkeypatch):
    monkeypatch.setattr(auditing, "MOST", 150)
    one, again, other = (audited(digits, new("discriminator"), key=key) for key in (1, 1, 2))
    assert one.values == again.values != other.values
    assert one.memorised == other.memorised  # of all members
    found = [rates[0][0] * 150 for rates in one.tpr.values()]
    assert found == pytest.approx(np.round(found))
    assert math.isnan(one.tpr["samples"][1][0])  # 150 others are too few for 0.05


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"members": np.zeros((0, 1, 8, 8), np.float32)}, "members: expected at least one"),
        ({"held_out": np.zeros((0, 1, 8, 8), np.float32)}, "held_out: expected at least one"),
        ({"generated": np.zeros((3, 3, 8, 8), np.float32)}, r"shape \(1, 8, 8\), got .* \(3, 3,"),
        ({"calibration": np.zeros((3, 64), np.float32)}, "calibration: expected"),
    ],
)
def test_sets_that_do_not_fit_are_refused(digits, changed, told):
    with pytest.raises(DataError, match=told):
        audited(digits, new("discriminator"), **changed)


def test_a_broken_discriminator_and_few_samples_give_no_figures(digits):
    judge = new("discriminator")
    with torch.no_grad():
        next(judge.parameters()).fill_(NAN)
    few = {"members": digits[:1], "held_out": digits[1:2], "calibration": None}
    found = audited(digits, judge, generated=np.full((4, 1, 8, 8), NAN, np.float32), **few)
    assert math.isnan(found.auc["feedback"]) and math.isnan(found.auc["discriminator"])
    assert found.auc["samples"] == 0.5
    assert all(math.isnan(error) for error in found.error.values())
    assert found.memorised == 0


# --- To JSON and back -----------------------------------------------------------------------------


def example(**changed):
    rates = ((0.5, 0.4, 0.6), (0.3, 0.25, 0.5), (NAN, NAN, NAN))
    figures = {
        "auc": dict.fromkeys(ATTACKS, 0.75),
        "error": dict.fromkeys(ATTACKS, NAN),
        "tpr": dict.fromkeys(ATTACKS, rates),
        "memorised": 0.25,
    }
    return Audit(**figures | changed)


def test_figures_travel_as_json():
    sent = json.dumps(example().values, allow_nan=False)
    assert json.loads(sent)["tpr"]["samples"][2] == [None, None, None]
    found = Audit.of(json.loads(sent))
    assert repr(found) == repr(example())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"memorised": 1.5}, "memorised: expected a number from 0 to 1 or null, got 1.5"),
        ({"memorised": True}, "memorised: expected a number"),
        ({"memorised": math.inf}, "memorised: expected a number"),
        ({"memorised": "0.5" * 10**6}, "memorised: expected a number"),
        ({"auc": {"samples": 0.5}}, "auc: expected a table of samples, feedback, discriminator"),
        ({"error": []}, "error: expected a table"),
        ({"tpr": {key: [[0.1, 0, 1]] for key in ATTACKS}}, "tpr.samples: expected a list of 3"),
        ({"tpr": {key: [0.1, 0, 1] for key in ATTACKS}}, "tpr.samples: expected a list of 3"),
        ({"tpr": {key: [[0.1, 0, NAN]] * 3 for key in ATTACKS}}, "tpr.samples: expected a number"),
        ({"other": 1}, "audit: expected a table of auc, error, tpr, memorised"),
    ],
)
def test_figures_of_another_form_are_refused(changed, told):
    with pytest.raises(ValueError, match=told) as caught:
        Audit.of(example().values | changed)
    assert len(str(caught.value)) < 300
    with pytest.raises(ValueError, match="audit: expected a table"):
        Audit.of([changed])
