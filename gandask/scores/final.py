"""Scores of the final samples, from the samples themselves: which there are, and of what.

Those in `metrics` follow from sums, so that a mixture is scored without drawing samples. These do
not, or are more than one number: they are computed once, at the end, on the worker that draws the
samples, and cannot steer what a mixture becomes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gandask.core import Array, SettingError, Variable, rng
from gandask.data import Data
from gandask.scores import cached, classifier, features, metrics, series, sets
from gandask.scores.features import CHUNK, Extractor
from gandask.scores.metrics import Reference

MOST = 10_000
"""Samples that are compared, of each kind: distances are of all pairs."""
NUMBERS = 1 << 26
"""In the samples that a classifier is trained on, which are all in memory."""
NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Real:
    """Real samples, as generated ones are compared with them.

    Parameters
    ----------
    data : Data
    labels : tuple of int
        Of which they are; none for all.
    features : (n, features) tensor
        Those of n samples, drawn once for all runs.
    nearest : (n, 5) tensor
        Their distances to their nearest neighbours among themselves.
    likeness : float
        `sets.likeness` of them.
    by_class : callable
        Gives the statistics of each class of all real samples.
    """

    data: Data
    labels: tuple[int, ...]
    features: Tensor
    nearest: Tensor
    likeness: float
    by_class: Callable[[], Sequence[Reference]]


@dataclass(frozen=True, eq=False)
class Generated:
    """Generated samples.

    Parameters
    ----------
    features : (n, features) tensor
    classes : (n,) int64 tensor
        What each was asked to be or, of a generator that takes no labels, what the extractor sees;
        -1 for what cannot be seen.
    images : (n, *shape) tensor
        Themselves; none of them where no score needs them.
    """

    features: Tensor
    classes: Tensor
    images: Tensor


def fid_by_class(real: Real, drawn: Generated) -> Array:
    """Compute the Fréchet distance of each class, NaN with fewer than two samples of it.

    The intra FID of Miyato and Koyama (2018), where samples were asked for by class.
    """
    found = np.full(real.data.classes, math.nan)
    for label, reference in enumerate(real.by_class()):
        own = drawn.features[drawn.classes == label].numpy()
        if min(len(own), reference.statistics.count) >= 2:
            statistics = metrics.measure(own, np.ones((len(own), 1)))
            found[label] = metrics.fid(reference, statistics)
    return found


@dataclass(frozen=True)
class FinalScore:
    """A score that needs the samples themselves.

    Parameters
    ----------
    compute : callable
    long_name : str
    better : {"lower", "higher"}
        Which of two is better.
    least : int
        Samples that it needs, real and generated.
    of_labels : bool
        Whether samples have to be made by label.
    of_classes : bool
        Whether there is one for each class.
    of_sequences : bool
        Whether samples have to be sequences.
    """

    compute: Callable[[Real, Generated], float | Array]
    long_name: str
    better: str
    least: int = 2
    of_labels: bool = False
    of_classes: bool = False
    of_sequences: bool = False

    @property
    def of_samples(self) -> bool:
        """Whether samples themselves are needed, and not their features alone."""
        return self.of_labels or self.of_sequences


SCORES: Mapping[str, FinalScore] = {
    "fid_by_class": FinalScore(fid_by_class, "FID of each class", "lower", of_classes=True),
    "kid": FinalScore(
        lambda real, drawn: sets.kernel_distance(real.features, drawn.features, real.likeness),
        "KID (unbiased squared kernel distance)",
        "lower",
    ),
    "precision": FinalScore(
        lambda real, drawn: sets.precision(real.features, real.nearest[:, 2], drawn.features),
        "precision (share of samples among real ones)",
        "higher",
        least=4,
    ),
    "recall": FinalScore(
        lambda real, drawn: sets.recall(real.features, drawn.features),
        "recall (share of real samples among those)",
        "higher",
        least=4,
    ),
    "density": FinalScore(
        lambda real, drawn: sets.density(real.features, real.nearest[:, 4], drawn.features),
        "density (real neighbourhoods a sample lies in)",
        "higher",
        least=NEIGHBOURS + 1,
    ),
    "coverage": FinalScore(
        lambda real, drawn: sets.coverage(real.features, real.nearest[:, 4], drawn.features),
        "coverage (share of real neighbourhoods with a sample)",
        "higher",
        least=NEIGHBOURS + 1,
    ),
    "classification_accuracy": FinalScore(
        lambda real, drawn: classifier.taught(
            drawn.images, drawn.classes, real.data, of=real.labels
        ),
        "accuracy on real samples of a classifier taught by samples",
        "higher",
        of_labels=True,
    ),
    "autocorrelation_distance": FinalScore(
        lambda real, drawn: series.autocorrelation_distance(
            real.data.batch(_compared(real.data, real.labels)), drawn.images
        ),
        "mean difference of autocorrelations",
        "lower",
        of_sequences=True,
    ),
    "prediction_error": FinalScore(
        lambda real, drawn: series.prediction_error(drawn.images, real.data, of=real.labels),
        "error on real sequences of a predictor taught by samples",
        "lower",
        of_sequences=True,
    ),
}


def computed(wanted: Sequence[str], real: Real, drawn: Generated) -> dict[str, float | Array]:
    """Compute scores, by name."""
    return {name: SCORES[name].compute(real, drawn) for name in wanted}


def count(wanted: Collection[str], samples: int, shape: Sequence[int]) -> int:
    """Say how many generated samples are compared, where so many may be drawn.

    Examples
    --------
    >>> count(["kid"], 50_000, (3, 64, 64)), count(["classification_accuracy"], 50_000, (3, 64, 64))
    (10000, 5461)
    """
    held = any(SCORES[name].of_samples for name in wanted)
    return min(samples, MOST, max(1, NUMBERS // math.prod(shape)) if held else MOST)


def check(
    wanted: Collection[str],
    data: Data,
    kind: str,
    samples: int,
    *,
    by_label: bool,
    key: str,
    labels: tuple[int, ...] = (),
) -> None:
    """Refuse scores that data, features or networks have nothing for.

    Parameters
    ----------
    wanted : collection of str
        Names in `SCORES`.
    kind : str
        Of features.
    samples : int
        Generated ones.
    by_label : bool
        Whether samples are made by label.
    key : str
        The setting that names the scores.
    labels : tuple of int
        Whose real samples count; none for all.

    Raises
    ------
    SettingError
    """
    count = len(_chosen(data, labels))
    whose = f" of the labels {', '.join(map(str, labels))}" if labels else ""
    for name in wanted:
        score, told = SCORES[name], f"{key}: {name!r}"
        if score.of_labels and not (by_label and data.classes > 1 and len(data.shape) == 3):
            raise SettingError(
                f"{told} trains a classifier on images that were made by label: choose labelled "
                "images, and a network that takes labels, such as 'conditional_dcgan', or the "
                "method per_label; or leave it out"
            )
        if score.of_sequences and len(data.shape) != 2:
            raise SettingError(
                f"{told} is of sequences (steps, channels), and samples of {data.name} have the "
                f"shape {data.shape}; choose data='sines' or sequences of your own, or leave it out"
            )
        seen = by_label or features.sees_classes(data, kind)
        if score.of_classes and not (data.classes > 1 and seen):
            raise SettingError(
                f"{told} needs to know the class of each sample: choose labelled data, and "
                "features='classifier' or a network that takes labels, such as "
                "'conditional_dcgan'; or leave it out"
            )
        if min(samples, count) < score.least:
            raise SettingError(
                f"{told} is of at least {score.least} samples: {data.name} has {count}{whose}, and "
                f"{samples} are drawn (final_samples); take more, or leave it out"
            )


def variables(
    wanted: Collection[str], samples: int, of: str, *, prefix: str, role: str = ""
) -> dict[str, Variable]:
    """Describe scores as variables of a result.

    Parameters
    ----------
    of : str
        Whose they are, such as "the final mixture".
    prefix : str
        Of their names.
    role : str
        As in `Variable`.
    """
    return {
        f"{prefix}{name}": Variable(
            f"{score.long_name}, of {of}",
            dims=("class",) if score.of_classes else (),
            role=role,
            by_round=False,
            better=score.better,
            samples=samples,
        )
        for name, score in SCORES.items()
        if name in wanted
    }


def real(
    data: Data, kind: str = "auto", weights: str | None = None, labels: tuple[int, ...] = ()
) -> Real:
    """Give the real samples to compare with, computed once per data set and cached.

    The same ones whatever the run and its seed: at most `MOST`, drawn at random.

    Parameters
    ----------
    labels : tuple of int
        Of which they are to be; none for all.

    Raises
    ------
    DataError
        If their features are no finite numbers.
    """
    return _real(data, kind, weights, labels, features.extractor(data, kind, weights))


@functools.lru_cache(maxsize=2)
def _real(
    data: Data, kind: str, weights: str | None, labels: tuple[int, ...], measure: Extractor
) -> Real:
    digest = hashlib.blake2b(repr(labels).encode(), digest_size=8).hexdigest()
    path = features.place(data, "-".join([measure.key, "samples", *([digest] if labels else [])]))
    kept = cached.recall(path)
    if kept is None:
        found = _features(data, kind, labels, measure)
        kept = cached.keep(
            path,
            {
                "features": found.numpy(),
                "nearest": sets.nearest(found, NEIGHBOURS).numpy(),
                "likeness": np.array(sets.likeness(found)),
            },
        )
    return Real(
        data,
        labels,
        torch.from_numpy(kept["features"]),
        torch.from_numpy(kept["nearest"]),
        float(kept["likeness"]),
        lambda: features.references(data, kind, weights),
    )


def _chosen(data: Data, labels: tuple[int, ...]) -> Array:
    """Give the indices of the real samples of some labels, or of all."""
    return np.flatnonzero(np.isin(data.labels, labels)) if labels else np.arange(len(data))


def _compared(data: Data, labels: tuple[int, ...]) -> Array:
    """Give the indices of the real samples that are compared with, drawn at random."""
    return np.sort(rng(0, "final scores").permutation(_chosen(data, labels))[:MOST])


def _features(data: Data, kind: str, labels: tuple[int, ...], measure: Extractor) -> Tensor:
    """Extract the features of real samples drawn at random."""
    chosen = _compared(data, labels)
    with torch.no_grad():
        parts = [
            measure.apply(data.batch(part))[0].cpu().float()
            for part in np.array_split(chosen, -(-len(chosen) // CHUNK))
        ]
    found = torch.cat(parts)
    if not torch.isfinite(found).all():
        raise features.not_finite(data, kind)
    return found


def draw(
    measure: Extractor, samples: Tensor, labels: Tensor | None, *, with_images: bool
) -> Generated:
    """Measure generated samples.

    Parameters
    ----------
    labels : tensor, optional
        What they were asked to be: where none was asked, what the extractor sees counts.
    with_images : bool
        Whether to keep the samples themselves.
    """
    found, probabilities, _ = measure.apply(samples)
    found = found.cpu().float()
    seen = torch.where(torch.isfinite(found).all(1), probabilities.cpu().argmax(1), -1)
    images = samples[: len(samples) if with_images else 0].cpu()
    return Generated(found, seen if labels is None else labels.cpu(), images)


def joined(parts: Sequence[Generated]) -> Generated:
    """Put samples together."""
    names = [field.name for field in dataclasses.fields(Generated)]
    return Generated(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
