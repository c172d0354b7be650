"""The classifier that generated samples teach: the accuracy on real ones."""

import math

import pytest
import torch

from gandask import data
from gandask.scores import classifier


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch):
    monkeypatch.setattr(classifier, "EPOCHS", {True: 6, False: 6})


def of_real(digits):
    """Give real samples in the place of generated ones, none of those that are tested on."""
    _, rest = classifier._parted(digits)
    return digits.batch(rest), torch.tensor(digits.labels[rest])


def test_real_samples_teach_what_the_classifier_of_real_samples_knows(digits):
    images, labels = of_real(digits)
    found = classifier.taught(images, labels, digits)
    _, usual = classifier.train(digits)
    assert found == pytest.approx(usual, abs=0.04)
    assert found > 0.85


def test_samples_with_other_labels_teach_nothing(digits):
    images, labels = (part[:400] for part in of_real(digits))
    assert classifier.taught(images, (labels + 1) % 10, digits) < 0.1
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert classifier.taught(noise, labels, digits) < 0.4


def test_samples_of_half_the_classes_teach_half(digits):
    images, labels = of_real(digits)
    few = labels < 5
    found = classifier.taught(images[few], labels[few], digits)
    assert found == pytest.approx(0.5, abs=0.1)


def test_the_same_samples_teach_the_same(digits):
    images, labels = of_real(digits)
    found = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():  # as tasks draw samples
            found.add(classifier.taught(images[:200], labels[:200], digits))
    assert len(found) == 1


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_left_out(wrong, digits):
    images, labels = (part[:100] for part in of_real(digits))
    expected = classifier.taught(images, labels, digits)
    spoilt = torch.cat([images, torch.full_like(images[:20], wrong)])
    found = classifier.taught(spoilt, torch.cat([labels, labels[:20]]), digits)
    assert found == expected
    assert math.isnan(classifier.taught(spoilt[100:], labels[:20], digits))


def test_one_sample_is_enough_to_be_wrong_with(digits):
    images, labels = of_real(digits)
    assert 0 <= classifier.taught(images[:1], labels[:1], digits) <= 0.5
