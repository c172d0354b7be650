"""Feature extractors: what a sample is measured by.

A small classifier trained on the data set itself (its logits, as in Lipizzaner's line of work), an
InceptionV3 whose weights file the user gives, or plain coordinates. What is computed once per
data set (the classifier, the real data's statistics) is kept in the cache folder.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gandask import config
from gandask.core import Array, DataError, SettingError, rng
from gandask.data import Data, cache_dir
from gandask.data.plane import NEAR
from gandask.scores import cached, classifier, metrics
from gandask.scores.metrics import Reference, Statistics
from gandask.training import stored

FEATURES = ("auto", "classifier", "inception", "coordinates")
VERSION = 1  # of the classifier's architecture and training: part of the cache's key
CHUNK = 500  # samples extracted at once: bounds memory, and keeps results free of sample counts
PIECE = 50  # images through a network at once: a core's cache holds them, and memory InceptionV3's
Stamp = tuple[int, int]  # of a file: its size, and when it was changed
LEAST_HALVED = 4  # samples: a covariance needs two
MOST_REFERENCES = 8 << 30  # bytes of the references of all classes, which a process holds at once
MOST_VALUES = 128  # of a sequence: more are averaged over neighbouring steps
MOST_LOGITS = 100  # with more classes the last hidden layer is the features: reports stay small


@dataclass(frozen=True)
class Extractor:
    """Turn samples into features, class probabilities and, for points, a quality mark.

    `key` tells what it is, with a digest of weights; `accuracy` is the classifier's on held-out
    data.
    """

    apply: Callable[[Tensor], tuple[Tensor, Tensor, Tensor | None]]
    key: str
    accuracy: float | None = None

    def statistics(self, batches: Iterator[Tensor]) -> Statistics:
        """Sum the statistics of batches of samples."""
        parts = []
        with torch.no_grad():
            for batch in batches:
                features, probabilities, good = self.apply(batch)
                mask = None if good is None else good.cpu().numpy()
                parts.append(
                    metrics.measure(features.cpu().numpy(), probabilities.cpu().numpy(), mask)
                )
        return metrics.merge(parts)


def extractor(data: Data, kind: str = "auto", weights: str | None = None) -> Extractor:
    """Make the extractor of a data set, training and caching its classifier where needed.

    Parameters
    ----------
    kind : {"auto", "classifier", "inception", "coordinates"}
        ``auto`` is coordinates for points, the classifier for labelled images, and coordinates
        (pixels averaged to 8×8) for unlabelled ones; and coordinates for sequences (values, with
        steps averaged until there are at most 128).
    weights : str, optional
        InceptionV3 weights file, as torch-fidelity reads it.

    Raises
    ------
    SettingError
        For a kind that there is not, or that does not fit the data.
    """
    kind = _chosen(data, kind)
    if kind == "inception":
        if len(data.shape) != 3 or data.shape[0] not in (1, 3):
            raise SettingError(
                f"features='inception': {data.name} has samples of shape {data.shape}, no grey or "
                "colour images; use features='auto'"
            )
        return _inception(weights, _stamp(weights))
    if kind == "coordinates":
        return _points(data) if data.modes is not None else pixels()
    if data.classes < 2 or len(data.shape) != 3:
        raise SettingError(
            f"features='classifier': {data.name} has no labelled images to train one on; "
            "use features='coordinates', or 'inception' with inception_weights"
        )
    return _classifier(data)


def _chosen(data: Data, kind: str) -> str:
    """Give the kind of features that ``auto`` stands for."""
    config.lookup("features", kind, dict.fromkeys(FEATURES))
    if kind == "auto":
        return "classifier" if data.classes > 1 and len(data.shape) == 3 else "coordinates"
    return kind


def sees_classes(data: Data, kind: str = "auto") -> bool:
    """Tell whether an extractor tells the classes of the data apart, or the modes of points."""
    chosen = _chosen(data, kind)
    return chosen == "classifier" or (chosen == "coordinates" and data.modes is not None)


def reference(data: Data, kind: str = "auto", weights: str | None = None) -> Reference:
    """Give the real data's statistics, computed once per data set and cached.

    Raises
    ------
    DataError
        If they are no finite numbers.
    """
    return _reference(data, kind, weights, _stamp(weights))


@functools.lru_cache(maxsize=8)
def _reference(data: Data, kind: str, weights: str | None, stamp: Stamp | None) -> Reference:
    measure = extractor(data, kind, weights)
    path = place(data, measure.key)
    kept = cached.recall(path)
    if kept is None:
        packed = _measured(data, np.arange(len(data)), measure, kind)
        kept = cached.keep(path, {"statistics": packed})
    return Reference.of(Statistics.from_array(kept["statistics"]))


def references(data: Data, kind: str = "auto", weights: str | None = None) -> tuple[Reference, ...]:
    """Give the statistics of each class of the real data, computed once per data set and cached.

    Raises
    ------
    DataError
        If they are no finite numbers.
    SettingError
        If there are more classes than memory for so many features of each.
    """
    return _references(data, kind, weights, _stamp(weights))


@functools.lru_cache(maxsize=4)
def _references(
    data: Data, kind: str, weights: str | None, stamp: Stamp | None
) -> tuple[Reference, ...]:
    measure = extractor(data, kind, weights)
    _refuse_large(data, measure, kind)
    path = place(data, f"{measure.key}-classes")
    kept = cached.recall(path)
    if kept is None:
        order = np.argsort(data.labels, kind="stable")
        ends = np.cumsum(np.bincount(data.labels, minlength=data.classes))[:-1]
        rows = [_measured(data, one, measure, kind) for one in np.split(order, ends)]
        kept = cached.keep(path, {"statistics": np.stack(rows)})
    return tuple(Reference.of(Statistics.from_array(row)) for row in kept["statistics"])


def _refuse_large(data: Data, measure: Extractor, kind: str) -> None:
    """Raise SettingError if the references of all classes need too much memory."""
    with torch.no_grad():
        found, _, _ = measure.apply(data.batch(np.zeros(1, np.int64)))
    numbers = found.shape[1]
    needed = 2 * 8 * numbers**2 * data.classes  # products and a root, in float64
    if needed > MOST_REFERENCES:
        raise SettingError(
            f"features={kind!r}: the statistics of {numbers} features of each of {data.classes} "
            f"classes of {data.name} need {needed / 2**30:.0f} GiB, at most "
            f"{MOST_REFERENCES / 2**30:.0f}; choose features='classifier' or 'coordinates'"
        )


def halves(
    data: Data, kind: str = "auto", weights: str | None = None
) -> tuple[Reference, Reference]:
    """Give the statistics of two halves of the real data, which have no sample in common.

    What is chosen by the one is judged by the other. They are computed once per data set and
    cached.

    Raises
    ------
    DataError
        If they are no finite numbers, or there are too few samples to be halved.
    """
    if len(data) < LEAST_HALVED:
        raise DataError(
            f"{data.name}: expected at least {LEAST_HALVED} samples to make two halves of, got "
            f"{len(data)}; give a larger data set"
        )
    measure = extractor(data, kind, weights)
    path = place(data, f"{measure.key}-halves")
    kept = cached.recall(path)
    if kept is None:
        order = rng(0, "halves").permutation(len(data))
        parts = np.array_split(order, 2)
        packed = np.stack([_measured(data, np.sort(part), measure, kind) for part in parts])
        kept = cached.keep(path, {"statistics": packed})
    first, second = (Reference.of(Statistics.from_array(row)) for row in kept["statistics"])
    return first, second


def _measured(data: Data, indices: Array, measure: Extractor, kind: str) -> Array:
    """Sum the statistics of some real samples, packed."""
    chunks = np.array_split(indices, max(1, -(-len(indices) // CHUNK)))
    packed = measure.statistics(data.batch(chunk) for chunk in chunks).to_array()
    if not np.isfinite(packed).all():
        raise not_finite(data, kind)
    return packed


def not_finite(data: Data, kind: str) -> DataError:
    """Say that real samples have features that are no finite numbers."""
    return DataError(
        f"features={kind!r} of {data.name}: expected finite numbers, got others from the "
        "extractor; give other inception_weights, or use features='coordinates'"
    )


@functools.lru_cache(maxsize=8)
def _classifier(data: Data) -> Extractor:
    kept = dict(_classifier_of(data))
    accuracy = float(kept.pop("accuracy"))
    return replace(classifying(data.shape, data.classes, kept), accuracy=accuracy)


def _classifier_of(data: Data) -> Mapping[str, Array]:
    """Give the weights of a data set's classifier, and its accuracy."""
    path = place(data, f"classifier{VERSION}")
    kept = cached.recall(path)
    if kept is None:
        trained, accuracy = classifier.train(data)
        arrays = {name: part.numpy() for name, part in trained.state_dict().items()}
        kept = cached.keep(path, arrays | {"accuracy": np.array(accuracy)})
    return kept


def parts(data: Data, kind: str = "auto") -> tuple[str, Mapping[str, Array]]:
    """Give what an extractor is made of, for who has other data of the same shape.

    Returns
    -------
    str
        ``classifier`` or ``pixels``.
    mapping of str to Array
        The classifier's weights; none of pixels.

    Raises
    ------
    SettingError
        For InceptionV3, which is too large to be sent, or a kind that does not fit the data.
    """
    if kind == "inception":
        raise SettingError("features='inception': too large to be sent; choose 'classifier'")
    if extractor(data, kind).accuracy is None:
        return "pixels", {}
    kept = _classifier_of(data)
    return "classifier", {name: array for name, array in kept.items() if name != "accuracy"}


def pixels() -> Extractor:
    """Make the extractor of values: pixels, averaged to 8×8, steps of sequences, or coordinates."""

    def apply(samples: Tensor) -> tuple[Tensor, Tensor, None]:
        small = samples = samples.cpu()
        if samples.dim() == 4:
            small = functional.adaptive_avg_pool2d(samples, 8)
        elif samples.dim() == 3 and samples[0].numel() > MOST_VALUES:
            steps = max(1, MOST_VALUES // samples.shape[2])
            small = functional.adaptive_avg_pool1d(samples.mT, steps)
        return small.flatten(1), torch.ones(len(samples), 1, dtype=torch.float64), None

    return Extractor(apply, "pixels")


def classifying(shape: tuple[int, ...], classes: int, weights: Mapping[str, Array]) -> Extractor:
    """Make the extractor of a classifier's weights, for images of a shape and so many classes.

    Raises
    ------
    RuntimeError
        If the weights are not those of such a classifier.
    """
    model = classifier.network(shape, classes)
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    at = _by_device(model)

    def apply(samples: Tensor) -> tuple[Tensor, Tensor, None]:
        *layers, head = at(samples.device).children()
        body = nn.Sequential(*layers)
        hidden = torch.cat([body(part) for part in torch.split(samples, PIECE)])
        logits = head(hidden)
        features = logits if classes <= MOST_LOGITS else hidden
        return features, functional.softmax(logits.double(), 1), None

    return Extractor(apply, f"classifier{VERSION}-{stored.digest_of(weights)}")


def _by_device(model: nn.Module) -> Callable[[torch.device], nn.Module]:
    """Give a network, which is not to be trained any more, on each device that is asked for."""
    for parameter in model.eval().requires_grad_(False).parameters():
        if parameter.dim() == 4:
            # torch's pooling takes a fifth of the time where the channels of a pixel are neighbours
            parameter.data = parameter.data.clone(memory_format=torch.channels_last)

    @functools.cache
    def at(device: torch.device) -> nn.Module:
        return model if device.type == "cpu" else copy.deepcopy(model).to(device)

    return at


def _points(data: Data) -> Extractor:
    assert data.modes is not None
    assert data.mode_std is not None
    modes, radius = torch.tensor(data.modes).float(), NEAR * data.mode_std

    def apply(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        samples = samples.cpu()
        distance, nearest = torch.cdist(samples, modes).min(1)
        return samples, functional.one_hot(nearest, len(modes)).double(), distance <= radius

    return Extractor(apply, "points")


def _stamp(weights: str | None) -> Stamp | None:
    """Tell a file of weights from one that is put in its place; None where there is none."""
    if weights is None or not Path(weights).is_file():
        return None
    told = Path(weights).stat()
    return told.st_size, told.st_mtime_ns


@functools.lru_cache(maxsize=2)
def _inception(weights: str | None, stamp: Stamp | None) -> Extractor:
    if weights is None or stamp is None:
        raise SettingError(
            f"inception_weights={weights!r}: features='inception' needs the InceptionV3 weights "
            "file that torch-fidelity uses (pt_inception-2015-12-05-6726825d.pth)"
        )
    from gandask.data import torchvision

    torchvision()  # torch-fidelity imports it
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise SettingError("features='inception' needs torch-fidelity: pip install it") from error
    try:
        # torch-fidelity would unpickle whatever is in the file: make sure that it is weights
        torch.load(weights, map_location="cpu", weights_only=True)
        model = FeatureExtractorInceptionV3(
            "inception-v3-compat",
            ["2048", "logits_unbiased"],
            feature_extractor_weights_path=weights,
        )
    except Exception as error:
        raise DataError(f"inception_weights={weights!r} cannot be read: {error}") from error

    at = _by_device(model)

    def apply(samples: Tensor) -> tuple[Tensor, Tensor, None]:
        images = ((samples + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        inception = at(samples.device)
        parts = [inception(part) for part in torch.split(images.expand(-1, 3, -1, -1), PIECE)]
        features, logits = (torch.cat(column) for column in zip(*parts, strict=True))
        return features, functional.softmax(logits.double(), 1), None

    with Path(weights).open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    return Extractor(apply, f"inception-{digest}")


def place(data: Data, name: str) -> Path:
    """Say where the cache keeps what was computed of a data set."""
    return cache_dir() / "features" / f"{data.fingerprint}-{name}.safetensors"
