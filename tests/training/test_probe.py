"""What a task tells of a slot's data."""

from gandask import data
from gandask.core import Task
from gandask.execution.perform import perform_all
from gandask.training.probe import probe


def test_a_probe_tells_shape_count_classes_and_fingerprint(grid):
    training = grid(data="digits", data_fraction=0.25, batch_size=50).training
    task = Task("cell/1", 0, probe, arguments={"training": training, "slot": "cell/1"})
    ((written, report),) = perform_all([task], [[]], seed=1)
    digits = data.load("digits")
    assert written == ()
    assert report.values == {
        "shape": (1, 8, 8),
        "count": round(len(digits) / 4),
        "classes": 10,
        "fingerprint": digits.fingerprint,
    }
