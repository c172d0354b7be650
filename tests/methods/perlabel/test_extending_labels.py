"""Labels that come, and go: the others stay what they are, bit for bit."""

import pytest
from conftest import tiny

import gandask as gd
from gandask.methods.testing import assert_same
from gandask.store import Store
from gandask.training.stored import digest_of, read_checkpoint


def digests(store):
    """Digest every state of the last checkpoint: the first part of the file's name is its slot."""
    folder, told = Store.open(store).checkpoints.last()
    return {name: digest_of(state) for name, state in read_checkpoint(folder, told).items()}


def started(store):
    """Give when each task of a label began."""
    return {
        report.key: report.started for _, reports in Store.open(store).steps() for report in reports
    }


@pytest.mark.parametrize("labels", [(0, 3, 7), (0,), (3, 7)])
def test_labels_are_added_and_erased(tmp_path, labels):
    store = tmp_path / "run"
    gd.run(tiny("per_label", labels=(0, 3)), store=store, progress=False)
    before, performed = digests(store), started(store)
    (store / "samples" / "of.png").write_text("both")
    changed = tiny("per_label", labels=labels)
    ds = gd.run(changed, store=store, extend=True, progress=False)
    assert_same(ds, gd.run(changed, progress=False))
    after = digests(store)
    kept = [name for name in before if int(name.split("/")[1]) in labels]
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert {int(name.split("/")[1]) for name in after} == {*labels}
    now = started(store)
    again = {key for key, when in now.items() if performed.get(key, when) != when}
    assert again == set()  # nothing of a label that stays is performed again
    assert {slot for slot, *_ in now.keys() - performed.keys()} == {
        f"label/{label}" for label in labels if label not in (0, 3)
    }
    _, drawn = gd.open_run(store).sampler().sample(64, seed=0)
    assert {*drawn.tolist()} <= {*labels}
    if 3 not in labels:
        told = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
        assert b"label/3" not in told
        assert b"both" not in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": "iterations:5"}, "expected more"),
        ({"budget": "seconds:50"}, "expected more"),
        ({"score_every": 7}, "is extended by budget, labels alone"),
    ],
)
def test_what_labels_cannot_be_extended_by(tmp_path, changes, words):
    gd.run(tiny("per_label", labels=(0,)), store=tmp_path / "run", progress=False)
    with pytest.raises((gd.SettingError, gd.StoreError), match=words):
        gd.run(
            tiny("per_label", labels=(0,), **changes),
            store=tmp_path / "run",
            extend=True,
            progress=False,
        )


def test_the_nearest_budget_is_named(tmp_path):
    gd.run(tiny("per_label", share="equal"), store=tmp_path / "run", progress=False)
    longer = tiny("per_label", share="equal", budget="iterations:9")
    with pytest.raises(gd.StoreError, match=r"nearest .* is budget='iterations:6'"):
        gd.run(longer, store=tmp_path / "run", extend=True, progress=False)
