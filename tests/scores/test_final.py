"""Final scores: of which real samples they are, what each is of, and what is refused."""

import math

import numpy as np
import pytest
import torch

from gandask import SettingError, data
from gandask.scores import features, final, metrics, sets
from gandask.scores.metrics import Reference


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANDASK_CACHE", str(tmp_path / "cache"))
    final._real.cache_clear()


@pytest.fixture
def ring():
    return data.load("ring8")


@pytest.fixture
def points():
    """Make labelled points of three classes: what they are is what they are measured by."""
    chance = np.random.default_rng(0)
    labels = np.arange(300) % 3
    samples = (chance.normal(size=(300, 2)) + 10 * labels[:, None]).astype(np.float32)
    return data.Data("points", samples, labels, 3, "points-of-three")


def drawn(points, classes, images=None):
    made = torch.as_tensor(points)
    held = torch.empty(0, 2) if images is None else images
    return final.Generated(made, torch.as_tensor(classes), held)


def test_real_samples_are_the_same_from_the_cache(points):
    first = final.real(points, "coordinates")
    assert first.features.shape == (300, 2)
    assert torch.equal(first.nearest, sets.nearest(first.features, 5))
    assert first.likeness == sets.likeness(first.features)
    final._real.cache_clear()
    again = final.real(points, "coordinates")
    assert again is not first
    assert torch.equal(again.features, first.features)
    assert torch.equal(again.nearest, first.nearest)
    assert again.likeness == first.likeness


def test_of_many_real_samples_some_are_drawn(points, monkeypatch):
    monkeypatch.setattr(final, "MOST", 50)
    few = final.real(points, "coordinates")
    assert few.features.shape == (50, 2)
    known = {tuple(row) for row in points.samples.tolist()}
    assert {tuple(row) for row in few.features.tolist()} < known


def test_real_samples_may_be_of_some_labels(points):
    of_two = final.real(points, "coordinates", None, (0, 2)).features
    assert len(of_two) == 200
    expected = points.samples[points.labels != 1]
    assert {*map(tuple, of_two.tolist())} == {*map(tuple, expected.tolist())}
    # kept apart from those of all
    assert len(final.real(points, "coordinates").features) == 300


def test_fid_of_a_class_is_against_that_class(points):
    real = final.real(points, "coordinates")
    chance = np.random.default_rng(1)
    made = (chance.normal(size=(90, 2)) + 10 * (np.arange(90) % 3)[:, None]).astype(np.float32)
    classes = np.arange(90) % 3
    classes[classes == 2] = -1  # none of the last class
    classes[1] = 2  # and one, which has no spread
    found = final.fid_by_class(real, drawn(made, classes))
    for label in (0, 1):
        own, theirs = points.samples[points.labels == label], made[classes == label]
        ones = [np.ones((len(part), 1)) for part in (own, theirs)]
        reference = Reference.of(metrics.measure(own, ones[0]))
        expected = metrics.fid(reference, metrics.measure(theirs, ones[1]))
        assert found[label] == pytest.approx(expected, rel=1e-9)
        assert found[label] < 1
    assert math.isnan(found[2])
    swapped = final.fid_by_class(real, drawn(made, (np.arange(90) + 1) % 3))
    assert (swapped > 100).all()


@pytest.mark.filterwarnings("error")
def test_a_class_of_one_sample_or_none_has_no_fid(points):
    """As in a part of the data that lacks it, with the features of a network, which are many."""
    labels = np.where(points.labels < 2, points.labels, 3)
    labels[labels == 1] = 0
    labels[7] = 1
    samples = np.random.default_rng(2).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    few = data.Data("few", samples, labels, 4, "no-third-class")
    real = final.real(few, "classifier")
    assert [one.statistics.count for one in real.by_class()] == [199, 1, 0, 100]
    found = final.fid_by_class(real, drawn(real.features[:80], np.arange(80) % 4))
    assert np.isfinite(found).tolist() == [True, False, False, True]


def test_scores_are_those_of_the_sets(points):
    real = final.real(points, "coordinates")
    made = torch.from_numpy(points.samples[:100] + np.float32(0.3))
    wanted = ["precision", "recall", "density", "coverage", "kid"]
    found = final.computed(wanted, real, drawn(made, []))
    near = sets.nearest(real.features, 5)
    assert found == {
        "precision": sets.precision(real.features, near[:, 2], made),
        "recall": sets.recall(real.features, made),
        "density": sets.density(real.features, near[:, 4], made),
        "coverage": sets.coverage(real.features, near[:, 4], made),
        "kid": pytest.approx(sets.kernel_distance(real.features, made), rel=1e-12),
    }


def test_what_cannot_be_seen_is_of_no_class(ring):
    measure = features.extractor(ring)
    samples = torch.tensor([*ring.modes.tolist(), [math.nan, 0.0]])
    seen = final.draw(measure, samples, None, with_images=False)
    assert seen.classes.tolist() == [*range(8), -1]
    assert len(seen.images) == 0
    told = final.draw(measure, samples, torch.full((9,), 3), with_images=True)
    assert told.classes.tolist() == [3] * 9
    assert torch.equal(told.images[:8], samples[:8])
    both = final.joined([seen, told])
    assert both.classes.tolist() == [*range(8), -1, *[3] * 9]
    assert both.features.shape == (18, 2)


@pytest.mark.parametrize(
    ("wanted", "name", "samples", "by_label", "told"),
    [
        ("classification_accuracy", "digits", 100, False, "a network that takes labels"),
        ("classification_accuracy", "ring8", 100, True, "labelled images"),
        ("fid_by_class", "unlabelled", 100, False, "class of each sample"),
        ("fid_by_class", "unlabelled", 100, True, "labelled data"),
        ("recall", "ring8", 3, False, "at least 4 samples: ring8 has 50000, and 3 are drawn"),
        ("density", "ring8", 5, False, "at least 6 samples"),
        ("kid", "ring8", 1, False, "at least 2 samples"),
    ],
)
def test_what_there_is_nothing_for_is_refused(wanted, name, samples, by_label, told):
    loaded = data.load("ring8" if name == "unlabelled" else name)
    if name == "unlabelled":
        loaded = data.Data(name, loaded.samples, loaded.labels * 0, 1, name)
    with pytest.raises(SettingError, match=f"final_scores: '{wanted}' .*{told}"):
        final.check([wanted], loaded, "auto", samples, by_label=by_label, key="final_scores")
    final.check(["precision"], loaded, "auto", 4, by_label=by_label, key="final_scores")


def test_too_few_real_samples_of_the_labels_compared_are_refused(points):
    asked = {"by_label": True, "key": "final_scores"}
    labels = points.labels.copy()
    labels[labels == 2] = 0
    labels[5] = 2
    few = data.Data("few", points.samples, labels, 3, "one-of-the-third")
    for name in ("kid", "precision", "fid_by_class"):
        told = rf"'{name}' is of at least \d samples: few has 1 of the labels 2, and 100 are drawn"
        with pytest.raises(SettingError, match=told):
            final.check([name], few, "auto", 100, **asked, labels=(2,))
        final.check([name], few, "auto", 100, **asked, labels=(1, 2))


def test_classes_are_seen_by_what_tells_them_apart(ring):
    digits = data.load("digits")
    assert [features.sees_classes(digits, kind) for kind in ("auto", "classifier")] == [True] * 2
    assert not features.sees_classes(digits, "inception")
    assert not features.sees_classes(digits, "coordinates")
    assert features.sees_classes(ring)
