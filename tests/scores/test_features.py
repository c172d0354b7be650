"""Feature extractors: what they measure, what they refuse, and what they keep in the cache."""

import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from gandask import DataError, SettingError, data
from gandask.scores import classifier, features

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_mnist = pytest.mark.skipif(
    not (SHARED / "MNIST" / "raw").is_dir(), reason=f"no MNIST in {SHARED}"
)


@pytest.fixture(autouse=True)
def _fresh():
    """Forget what this process keeps in memory, as a new process would; use one thread, as runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    forget()
    yield
    forget()
    torch.set_num_threads(threads)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANDASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def quick(monkeypatch):
    """Train classifiers for one epoch only."""
    monkeypatch.setattr(classifier, "EPOCHS", {True: 1, False: 1})


@pytest.fixture
def no_training(monkeypatch):
    def refuse(data):
        raise AssertionError(f"trained a classifier of {data.name}")

    return lambda: monkeypatch.setattr(classifier, "train", refuse)


def forget():
    for kept in (features._reference, features._classifier, features._inception):
        kept.cache_clear()


def made(shape, classes=1, count=40, name="made", seed=0):
    """Make a data set of noise; points for a shape of (2,)."""
    chance = np.random.default_rng([seed, *shape])
    size = (count, *shape)
    samples = chance.integers(0, 256, size, np.uint8)
    if len(shape) == 1:
        samples = chance.normal(size=size).astype(np.float32)
    labels = np.arange(count) % classes
    return data.Data(name, samples, labels, classes, f"{name}-{seed}-{shape}-{classes}")


def flip(path, at):
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def other_statistics(path):
    """Give the statistics of other data, whole in themselves, and leave no other file."""
    features.reference(made((1, 8, 8), seed=1))
    (other,) = {*path.parent.iterdir()} - {path}
    content = other.read_bytes()
    other.unlink()
    return content


def batches(source, size=500):
    order = np.arange(len(source))
    return [source.batch(part) for part in np.array_split(order, -(-len(source) // size))]


def weights_of(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


# --- The classifier -------------------------------------------------------------------------------


def test_digits_are_told_apart_and_the_classifier_is_kept(empty_cache, no_training):
    digits = data.load("digits")
    first = features.extractor(digits)
    assert first.accuracy is not None
    assert first.accuracy >= 0.97
    assert [path.name for path in empty_cache.iterdir()] == [
        f"{digits.fingerprint}-classifier{features.VERSION}.safetensors"
    ]

    held_out = np.random.default_rng(0).permutation(len(digits))[:300]
    logits, probabilities, good = first.apply(digits.batch(held_out))
    assert logits.shape == probabilities.shape == (300, 10)
    assert good is None
    torch.testing.assert_close(probabilities, torch.softmax(logits.double(), 1))
    assert (probabilities.argmax(1).numpy() == digits.labels[held_out]).mean() > 0.97

    no_training()
    assert features.extractor(digits) is first
    forget()  # and now from the cache folder
    again = features.extractor(digits, "classifier")
    assert again is not first
    assert (again.accuracy, again.key) == (first.accuracy, first.key)
    assert torch.equal(again.apply(digits.batch(held_out))[0], logits)


def test_another_architecture_is_trained_anew(empty_cache, quick, no_training, monkeypatch):
    digits = data.load("digits")
    features.extractor(digits)
    forget()
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    no_training()
    with pytest.raises(AssertionError, match="trained a classifier of digits"):
        features.extractor(digits)


def test_training_is_deterministic(quick):
    digits = data.load("digits")
    torch.manual_seed(1)
    one = classifier.train(digits)
    torch.manual_seed(2)
    stream = torch.get_rng_state()
    other = classifier.train(digits)
    assert one[1] == other[1]
    assert_equal_weights(weights_of(one[0]), weights_of(other[0]))
    assert torch.equal(torch.get_rng_state(), stream), "torch's own stream is left alone"


def test_accuracy_is_of_held_out_samples():
    # Labels of noise can be learned by heart, and not otherwise.
    noise = made((1, 8, 8), classes=2, count=300)
    model, accuracy = classifier.train(noise)
    with torch.no_grad():
        right = model(noise.batch(np.arange(300))).argmax(1).numpy() == noise.labels
    assert right.mean() > 0.85
    assert accuracy < 0.75


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"junk"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"accuracy": "0.5"}),
        lambda path: safetensors.torch.save_file({"a": torch.zeros(1)}, path),
        lambda path: flip(path, -1),
        lambda path: flip(path, 100),
    ],
    ids=["junk", "empty", "truncated", "other weights", "no note", "a bit", "a bit of the header"],
)
def test_a_damaged_classifier_is_rebuilt(spoil, empty_cache, quick, no_training):
    small = made((1, 8, 8), classes=2)
    before = features.extractor(small).apply(small.batch(np.arange(5)))[0]
    (path,) = empty_cache.iterdir()
    spoil(path)
    forget()
    assert torch.equal(features.extractor(small).apply(small.batch(np.arange(5)))[0], before)
    no_training()
    forget()
    assert torch.equal(features.extractor(small).apply(small.batch(np.arange(5)))[0], before)
    assert [found.name for found in empty_cache.iterdir()] == [path.name]


def test_another_classifier_is_another_extractor(empty_cache, quick, monkeypatch):
    """Whatever it was trained by: real statistics and runs go with its weights."""
    small = made((1, 8, 8), classes=2)
    one = features.extractor(small).key
    features.reference(small)
    (path,) = empty_cache.glob("*-classifier1.safetensors")
    path.unlink()
    forget()
    monkeypatch.setattr(classifier, "EPOCHS", {True: 2, False: 2})
    other = features.extractor(small).key
    features.reference(small)
    assert one != other
    assert {found.stem for found in empty_cache.iterdir()} == {
        f"{small.fingerprint}-{key}" for key in ("classifier1", one, other)
    }


@pytest.mark.parametrize("count", [2, 30, 64, 72, 140])
def test_small_sets_are_trained_on_too(count):
    labels = np.arange(count) % 2
    images = np.where(labels, 200, 30).astype(np.uint8)[:, None, None, None]
    images = np.broadcast_to(images, (count, 1, 8, 8)).copy()
    bright = data.Data("bright", images, labels, 2, f"bright-{count}")
    model, accuracy = classifier.train(bright)
    assert 0 <= accuracy <= 1
    if count > 2:
        assert accuracy == 1
        with torch.no_grad():
            assert (model(bright.batch(np.arange(count))).argmax(1).numpy() == bright.labels).all()


FORMS = [(3, 8, 8), (1, 28, 28), (3, 17, 9), (4, 64, 64), (1, 1, 64), (2, 64, 1), (1, 1, 1)]


@pytest.mark.parametrize("shape", FORMS)
def test_classifiers_take_images_of_any_form(shape, quick, empty_cache):
    images = made(shape, classes=3, count=20)
    logits, probabilities, _ = features.extractor(images).apply(images.batch(np.arange(7)))
    assert logits.shape == probabilities.shape == (7, 3)


@pytest.mark.deep
@needs_mnist
def test_mnist_is_told_apart():
    mnist = data.load("mnist", str(SHARED))
    assert features.extractor(mnist).accuracy >= 0.985


# --- Points and pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ring8", "grid25"])
def test_points_within_three_deviations_are_good(name):
    points = data.load(name)
    angles = np.arange(100) * 0.0628
    steps = np.stack([np.cos(angles), np.sin(angles)], 1)
    for mode, centre in enumerate(points.modes):
        for radius, is_good in ((0, True), (2.97, True), (3.03, False), (4, False)):
            at = torch.tensor(centre + radius * points.mode_std * steps, dtype=torch.float32)
            coordinates, nearest, good = features.extractor(points).apply(at)
            assert torch.equal(coordinates, at)
            assert (good == is_good).all()
            assert (nearest.argmax(1) == mode).all()
            assert (nearest.sum(1) == 1).all()


def test_the_real_points_are_good_as_gaussians_are():
    ring = data.load("ring8")
    found = features.reference(ring).statistics
    assert found.count == len(ring)
    assert found.class_counts.tolist() == np.bincount(ring.labels).tolist(), "modes are far apart"
    assert found.mode_counts.sum() / found.count == pytest.approx(1 - np.exp(-4.5), abs=2e-3)
    np.testing.assert_allclose(found.mean, ring.samples.mean(0, np.float64), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(ring.samples.T.astype(float)), rtol=1e-9)


def test_points_that_are_not_numbers_are_not_good():
    bad = torch.tensor([[np.nan, 0], [np.inf, 0], [2, 0]])
    _, _, good = features.extractor(data.load("ring8")).apply(bad)
    assert good.tolist() == [False, False, True]


@pytest.mark.parametrize("classes", [1, 3])
def test_points_without_modes_are_their_coordinates(classes):
    points = made((2,), classes)
    for kind in ("auto", "coordinates"):
        found, probabilities, good = features.extractor(points, kind).apply(
            points.batch(np.arange(9))
        )
        assert torch.equal(found, torch.tensor(points.samples[:9]))
        assert probabilities.tolist() == [[1.0]] * 9
        assert good is None


@pytest.mark.parametrize(("kind", "classes"), [("auto", 1), ("coordinates", 1), ("coordinates", 4)])
def test_images_fall_back_to_pixels(kind, classes, no_training):
    no_training()
    images = made((3, 16, 16), classes)
    batch = images.batch(np.arange(6))
    found, probabilities, good = features.extractor(images, kind).apply(batch)
    means = batch.reshape(6, 3, 8, 2, 8, 2).mean((3, 5)).flatten(1)
    torch.testing.assert_close(found, means)
    assert probabilities.tolist() == [[1.0]] * 6
    assert good is None


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (made((2,), 3), "classifier", "features='classifier': made has no labelled images .*"),
        (made((1, 8, 8)), "classifier", "made has no labelled images .*'coordinates'"),
        (made((2,)), "inception", r"features='inception': made has samples of shape \(2,\)"),
        (made((4, 8, 8)), "inception", "no grey or colour images; use features='auto'"),
        (made((1, 8, 8), 2), "clasifier", "features='clasifier': .* did you mean 'classifier'"),
    ],
)
def test_extractors_that_do_not_fit_are_refused(source, kind, said):
    with pytest.raises(SettingError, match=said):
        features.extractor(source, kind)


# --- Statistics and their cache -------------------------------------------------------------------


def test_statistics_do_not_depend_on_batches():
    ring = data.load("ring8")
    extractor = features.extractor(ring)
    one, other = (extractor.statistics(iter(batches(ring, size))) for size in (25_000, 7_001))
    assert one.count == other.count == len(ring)
    assert one.mode_counts.tolist() == other.mode_counts.tolist()
    np.testing.assert_allclose(one.feature_products, other.feature_products, rtol=1e-12)


def test_the_reference_is_computed_once(empty_cache, monkeypatch):
    images = made((1, 8, 8))
    first = features.reference(images)
    assert features.reference(images) is first
    (path,) = empty_cache.iterdir()
    assert path.name == f"{images.fingerprint}-pixels.safetensors"
    forget()
    with monkeypatch.context() as patch:
        patch.setattr(features.Extractor, "statistics", None)  # to be called no more
        again = features.reference(images)
    np.testing.assert_array_equal(again.statistics.to_array(), first.statistics.to_array())
    np.testing.assert_array_equal(again.root, first.root)
    np.testing.assert_allclose(first.root @ first.root, first.statistics.covariance, atol=1e-9)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"junk"),
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        lambda path: flip(path, 40),
        lambda path: flip(path, -200),
        lambda path: path.write_bytes(other_statistics(path)),
    ],
    ids=["empty", "junk", "truncated", "a bit of the header", "a bit", "of other data"],
)
def test_damaged_statistics_are_rebuilt(spoil, empty_cache):
    images = made((1, 8, 8))
    first = features.reference(images).statistics.to_array()
    (path,) = empty_cache.iterdir()
    spoil(path)
    forget()
    np.testing.assert_array_equal(features.reference(images).statistics.to_array(), first)
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["statistics"], first)
    assert [found.name for found in empty_cache.iterdir()] == [path.name]


def test_statistics_that_are_no_numbers_are_refused(empty_cache, monkeypatch):
    images = made((1, 8, 8))

    def broken(samples):
        return samples.flatten(1) * np.nan, torch.ones(len(samples), 1), None

    monkeypatch.setattr(features, "extractor", lambda *_: features.Extractor(broken, "broken"))
    with pytest.raises(DataError, match=r"features='auto' of made: expected finite numbers"):
        features.reference(images)
    assert not empty_cache.exists()


def test_references_of_many_classes_and_features_are_refused(monkeypatch):
    digits = data.load("digits")
    need = 2 * 8 * 64**2 * 10
    monkeypatch.setattr(features, "MOST_REFERENCES", need)
    assert len(features.references(digits, "coordinates")) == 10
    features._references.cache_clear()
    monkeypatch.setattr(features, "MOST_REFERENCES", need - 1)
    with pytest.raises(SettingError, match=r"64 features of each of 10 classes of .*digits"):
        features.references(digits, "coordinates")


def test_data_sets_and_kinds_do_not_share_references(empty_cache, quick):
    sets = [made((1, 8, 8), classes=2, seed=1), made((1, 8, 8), classes=2, seed=2)]
    references = [features.reference(x, kind) for x in sets for kind in ("auto", "coordinates")]
    assert len({reference.statistics.to_array().tobytes() for reference in references}) == 4


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GANDASK_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write the cache .*set GANDASK_CACHE"):
        features.reference(made((1, 8, 8)))


def test_a_failed_write_leaves_nothing(empty_cache, monkeypatch):
    def full(arrays, note):
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.numpy, "save", full)
    with pytest.raises(DataError, match="no space left on device"):
        features.reference(made((1, 8, 8)))
    assert list(empty_cache.iterdir()) == []


# --- InceptionV3 ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inception_state():
    """Make weights of torch-fidelity's architecture at random: the true ones are not to be had."""
    data.torchvision()  # torch_fidelity imports it
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with (
        mock.patch("torch.load"),
        mock.patch.object(FeatureExtractorInceptionV3, "load_state_dict"),
        mock.patch("torch.nn.init.kaiming_uniform_"),  # slow, and shrinks to nothing in 50 layers
    ):
        model = FeatureExtractorInceptionV3("i", ["2048"], feature_extractor_weights_path="none")
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5, generator=generator)
    return model.state_dict()


@pytest.fixture
def inception_weights(inception_state, tmp_path):
    torch.save(inception_state, tmp_path / "inception.pth")
    return str(tmp_path / "inception.pth")


@pytest.mark.parametrize("channels", [1, 3])
def test_inception_features(channels, inception_weights, inception_state):
    images = made((channels, 28, 28), count=3)
    batch = images.batch(np.arange(3))
    with mock.patch.object(features, "PIECE", 2):
        found, probabilities, good = features.extractor(
            images, "inception", inception_weights
        ).apply(batch)
    assert found.shape == (3, 2048)
    assert probabilities.shape == (3, 1008)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-9)
    assert good is None
    assert found.std() > 0.1
    assert not torch.equal(found[0], found[1])

    # From the definition: the reals' own pixels, and logits without the bias.
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    model = FeatureExtractorInceptionV3(
        "i", ["2048"], feature_extractor_weights_path=inception_weights
    )
    pixels = torch.tensor(images.samples).expand(-1, 3, -1, -1)
    torch.testing.assert_close(found, model(pixels)[0], rtol=1e-4, atol=1e-4)
    logits = found @ inception_state["fc.weight"].T
    torch.testing.assert_close(probabilities, torch.softmax(logits.double(), 1), rtol=1e-3, atol=0)


def test_inception_files_do_not_share_references(inception_state, inception_weights, tmp_path):
    images = made((1, 8, 8))
    other, copy = tmp_path / "other.pth", tmp_path / "copy.pth"
    torch.save(inception_state | {"fc.bias": torch.ones(1008)}, other)
    copy.write_bytes(Path(inception_weights).read_bytes())
    keys = [
        features.extractor(images, "inception", str(path)).key
        for path in (inception_weights, other, copy)
    ]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2], "the content counts, not the place"
    copy.write_bytes(other.read_bytes())  # in a kernel that has loaded what was there
    assert features.extractor(images, "inception", str(copy)).key == keys[1]


def test_a_reference_is_of_the_weights_that_are_there_now(monkeypatch, tmp_path):
    """A worker that begins later loads those."""
    ring, weights, looks = data.load("ring8"), tmp_path / "weights.pth", []
    extractor = features.extractor
    monkeypatch.setattr(
        features, "extractor", lambda data, *told: looks.append(told) or extractor(data)
    )
    for content in (b"old", b"old", b"other"):
        weights.write_bytes(content)
        os.utime(weights, ns=(0, len(content)))
        features.reference(ring, "inception", str(weights))
    assert looks == [("inception", str(weights))] * 2


def test_missing_inception_weights_are_refused(tmp_path):
    for weights in (None, str(tmp_path / "none.pth"), str(tmp_path)):
        with pytest.raises(SettingError, match=r"inception_weights=.* needs the InceptionV3"):
            features.extractor(data.load("digits"), "inception", weights)


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_unreadable_inception_weights_are_named(content, tmp_path):
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save({"fc.weight": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"inception_weights='.*weights.pth' cannot be read"):
        features.extractor(data.load("digits"), "inception", str(path))


@pytest.mark.parametrize(("classes", "size"), [(100, 100), (101, 64)])
def test_many_classes_are_measured_by_the_last_hidden_layer(empty_cache, quick, classes, size):
    """Else a report would hold a million products of a thousand logits."""
    many = made((1, 8, 8), classes, count=300)
    drawn, probabilities, _ = features.extractor(many).apply(many.batch(np.arange(7)))
    assert drawn.shape == (7, size)
    assert probabilities.shape == (7, classes)
