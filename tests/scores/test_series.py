"""Scores of sequences: what they are, that they tell good from bad, and the same each time."""

import math

import numpy as np
import pytest
import torch

from gandask import SettingError, data
from gandask.scores import final, series


@pytest.fixture(scope="module")
def sines():
    return data.load("sines")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(series, "STEPS", 300)
    series.real_error.cache_clear()
    yield
    series.real_error.cache_clear()


def noise(count=500, seed=0):
    return torch.rand(count, 24, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_autocorrelation_is_that_of_the_definition():
    sequences = torch.randn(7, 9, 2, generator=torch.Generator().manual_seed(1))
    sequences[:, :, 1] += 5
    found = series.autocorrelation(sequences)
    assert found.shape == (4, 2)
    for channel in range(2):
        away = sequences[..., channel].double().numpy()
        away -= away.mean()
        for lag in range(1, 5):
            expected = np.mean(away[:, lag:] * away[:, :-lag]) / np.mean(away**2)
            assert found[lag - 1, channel] == pytest.approx(expected, rel=1e-9)


def test_long_sequences_are_compared_at_so_many_lags():
    long = torch.randn(2, 500, 1, generator=torch.Generator().manual_seed(1))
    assert len(series.autocorrelation(long)) == series.LAGS
    assert series.autocorrelation(torch.ones(3, 2, 1)).tolist() == [[1.0]]


def test_a_sine_comes_back_after_its_period():
    steps = torch.arange(24) / 24
    waves = torch.stack([torch.sin(2 * torch.pi * (4 * steps + phase / 10)) for phase in range(10)])
    found = series.autocorrelation(waves[..., None])
    assert found[5, 0] == pytest.approx(1, abs=1e-6)  # four periods in 24 steps
    assert found[2, 0] == pytest.approx(-1, abs=1e-6)


def test_distance_is_nothing_of_the_same_and_more_of_others(sines):
    real = sines.batch(np.arange(1000))
    other = sines.batch(np.arange(1000, 2000))
    assert series.autocorrelation_distance(real, real) == 0
    close, far = (series.autocorrelation_distance(real, made) for made in (other, noise()))
    assert 0 < close < 0.05 < 0.15 < far
    # of what is left out nothing counts
    broken = torch.cat([real, torch.full((3, 24, 2), math.nan), torch.full((1, 24, 2), math.inf)])
    assert series.autocorrelation_distance(real, broken) == 0
    assert math.isnan(series.autocorrelation_distance(real, broken[1000:]))


def test_good_samples_teach_what_real_ones_do(sines):
    half, _ = series._halves(sines, ())
    reached = series.prediction_error(sines.batch(half), sines)
    assert reached == series.real_error(sines) < 0.08
    assert series.prediction_error(noise(), sines) > 0.25
    assert math.isnan(series.prediction_error(noise(2) * math.nan, sines))


def test_the_predictor_is_the_same_each_time_and_nothing_else_is_drawn(sines):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = series.prediction_error(noise(), sines)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert series.prediction_error(noise(), sines) == first


def test_it_is_tested_on_the_labels_compared_and_on_nothing_that_it_was_taught(sines):
    taught, held = series._halves(sines, (1, 3))
    assert not {*taught} & {*held}
    assert {*sines.labels[taught]} == {*sines.labels[held]} == {1, 3}
    slow, fast = (series.prediction_error(noise(), sines, of=(label,)) for label in (0, 3))
    assert slow != fast


def test_two_steps_are_enough():
    short = data.Data(
        "short", np.tile([[0.1], [0.5]], (9, 1, 1)).astype(np.float32), np.zeros(9, int), 1, "s"
    )
    assert series.real_error(short) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("name", ["autocorrelation_distance", "prediction_error"])
def test_they_are_of_sequences_alone(name, sines):
    asked = {"by_label": True, "key": "final_scores"}
    with pytest.raises(
        SettingError, match=rf"'{name}' is of sequences .*digits have the shape \(1,"
    ):
        final.check([name], data.load("digits"), "auto", 100, **asked)
    final.check([name], sines, "auto", 100, **asked)
