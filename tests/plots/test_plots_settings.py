"""Lines through settings, and scores by one of them, by what is drawn."""

import holoviews as hv
import numpy as np
import pytest

from gandask.plots import effect, parallel
from gandask.results import Compared


def made(scores, seeds=None, better="lower", **settings):
    values = {f"run {place}": score for place, score in enumerate(scores)}
    return Compared("FID", better, values, settings, seeds or [1] * len(scores), {})


RUNS = made([3.0, 1.0, 2.0], rate=[0.001, 0.1, 0.01], loss=["bce", "hinge", "bce"])


def heights(drawn):
    return {line["run"]: line["place"].tolist() for line in drawn.get(1).data}


def test_every_run_is_a_line_over_its_settings_and_score():
    drawn = parallel(RUNS)
    found = heights(drawn)
    # decades are apart alike; names at equal distances; the score from least to largest
    assert found["run 0"] == pytest.approx([0, 0.25, 1])
    assert found["run 1"] == pytest.approx([1, 0.75, 0])
    assert found["run 2"] == pytest.approx([0.5, 0.25, 0.5])
    labels = hv.render(drawn).xaxis[0].major_label_overrides
    assert labels == {0: "rate", 1: "loss", 2: "score"}
    texts = list(drawn.get(2).dimension_values("text"))
    assert texts == ["0.001", "0.01", "0.1", "bce", "hinge", "1", "2", "3"]


def test_the_best_is_drawn_last():
    assert [line["run"] for line in parallel(RUNS).get(1).data][-1] == "run 1"
    other = made([3.0, 1.0], better="higher", rate=[1, 2])
    assert [line["run"] for line in parallel(other).get(1).data][-1] == "run 0"


def test_many_settings_are_cut_and_told():
    many = {f"s{i}": [i, i + 1] for i in range(12)}
    assert hv.render(parallel(made([1.0, 2.0], **many))).title.text == "and 3 more settings"


def test_equal_scores_and_lists_and_nothing_at_all():
    hv.render(parallel(made([2.0, 2.0], shape=[[1, 2], [3, 4]], rate=[1, None])))
    for few in (made([1.0], rate=[1]), made([1.0, 2.0])):
        assert parallel(few).data[2].startswith("settings are compared between two runs")


def test_the_effect_of_a_setting_is_drawn_by_value():
    found = made([4.0, 6.0, 1.0], [1, 2, 1], rate=[0.1, 0.1, 0.5])
    drawn = effect(found, "rate")
    spans, dots, means = drawn
    assert list(zip(spans["score"], spans["score_end"], strict=True)) == [(4, 6), (1, 1)]
    assert dots["score"].tolist() == [4, 6, 1]
    assert np.round(dots["value"]).tolist() == [0, 0, 1]
    assert means["score"].tolist() == [5, 1]
    assert hv.render(drawn).xaxis[0].major_label_overrides == {0: "0.1", 1: "0.5"}
