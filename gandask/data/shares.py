"""Share a data set out, as sorted arrays of indices into it.

A share is all of the data, a random fraction, one class, some of each class, what is not held out,
or what one client of several holds.
Generators of one seed give the shares of one split, whoever asks.
"""

from __future__ import annotations

import numpy as np

from gandask.core import Array, SettingError

TRIES = 100  # draws of a Dirichlet split until everyone has a sample
MOST_HELD = 10_000  # samples to test on


def whole(size: int) -> Array:
    """Take everything.

    >>> whole(3)
    array([0, 1, 2])
    """
    return np.arange(size, dtype=np.int64)


def fraction(size: int, share: float, generator: np.random.Generator) -> Array:
    """Take a random part of the samples, a `share` in (0, 1] of them and at least one.

    Raises
    ------
    SettingError
        For another share.

    Examples
    --------
    >>> len(fraction(10, 0.4, np.random.default_rng(1)))
    4
    """
    if not 0 < share <= 1:
        raise SettingError(f"share: expected a number above 0 and up to 1, got {share}; 1 is all")
    count = max(1, round(share * size))
    return np.sort(generator.choice(size, count, replace=False)).astype(np.int64)


def by_class(labels: Array, label: int) -> Array:
    """Take the samples of one class.

    Raises
    ------
    SettingError
        If no sample has the label.

    Examples
    --------
    >>> by_class(np.array([1, 0, 1]), 1)
    array([0, 2])
    """
    chosen = np.flatnonzero(labels == label).astype(np.int64)
    if not len(chosen):
        raise SettingError(f"label: expected one of {np.unique(labels).tolist()}, got {label}")
    return chosen


def held_out(size: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Part the samples at random into a fifth, at most 10,000, to test on, and all others.

    The former are in random order, so that the first of them are a random part again.

    Examples
    --------
    >>> held, rest = held_out(10, np.random.default_rng(1))
    >>> len(held), len(rest), np.intersect1d(held, rest).size
    (2, 8, 0)
    """
    order = generator.permutation(size).astype(np.int64)
    held = min(MOST_HELD, size // 5)
    return order[:held], np.sort(order[held:])


def of_each_class(labels: Array, known: Array, count: int, generator: np.random.Generator) -> Array:
    """Draw so many samples, as many of each class as that goes.

    Parameters
    ----------
    labels : (N,) array
        Those of the data set.
    known : array
        The samples that are drawn from.

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 0, 1, 1, 2])
    >>> labels[of_each_class(labels, np.arange(7), 5, np.random.default_rng(1))]
    array([0, 0, 1, 1, 2])
    """
    drawn = generator.permutation(known)
    found = labels[drawn]
    turns = np.empty(len(drawn), dtype=np.int64)
    for label in np.unique(found):
        own = found == label
        turns[own] = np.arange(own.sum())
    return np.sort(drawn[np.argsort(turns, kind="stable")[:count]])


def by_client(
    labels: Array, clients: int, client: int, generator: np.random.Generator, split: str = "iid"
) -> Array:
    """Take what one client holds, counted from 0; clients are disjoint.

    Parameters
    ----------
    labels : (N,) array
        Those of the data set.
    split : str
        ``"iid"``: a random partition into near-equal parts. ``"dirichlet:0.3"``: each class is
        parted by shares drawn from a Dirichlet distribution of that concentration, drawn again
        until everyone has a sample (Hsu et al., 2019): a partition into unequal parts.
        ``"classes:2"``: everyone holds as many classes, dealt out in turn, and each class is parted
        evenly among those who hold it (after McMahan et al., 2017): a partition where clients ×
        classes cover all classes; else the classes that nobody holds are left out.

    Raises
    ------
    SettingError
        For more clients than samples, a client that is not among them, another split, or one that
        leaves a client without samples.

    Examples
    --------
    >>> labels = np.arange(10) % 5
    >>> [len(by_client(labels, 3, client, np.random.default_rng(1))) for client in range(3)]
    [4, 3, 3]
    >>> np.unique(labels[by_client(labels, 3, 0, np.random.default_rng(1), "classes:2")]).size
    2
    """
    size = len(labels)
    if not 1 <= clients <= size:
        raise SettingError(f"clients: expected 1 to {size}, one sample each, got {clients}")
    if not 0 <= client < clients:
        raise SettingError(f"client: expected 0 to {clients - 1}, got {client}")
    kind, _, number = split.partition(":")
    if split == "iid":
        parts = np.array_split(generator.permutation(size), clients)
    elif kind == "dirichlet" and _positive(number):
        parts = _dirichlet(labels, clients, float(number), generator)
    elif kind == "classes" and number.isdecimal() and int(number):
        parts = _dealt(labels, clients, int(number), generator)
    else:
        raise SettingError(
            f"split={split!r}: expected iid, dirichlet:CONCENTRATION such as dirichlet:0.3, or "
            "classes:NUMBER such as classes:2"
        )
    empty = [index for index, part in enumerate(parts) if not len(part)]
    if empty:
        raise SettingError(
            f"split={split!r}: leaves client {empty[0]} of {clients} without samples; take fewer "
            "clients, or a more even split"
        )
    return np.sort(parts[client]).astype(np.int64)


def _positive(number: str) -> bool:
    try:
        return 0 < float(number) < np.inf
    except ValueError:
        return False


def _by_label(labels: Array, generator: np.random.Generator) -> list[Array]:
    """Give the samples of each class, shuffled."""
    return [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]


def _dirichlet(
    labels: Array, clients: int, concentration: float, generator: np.random.Generator
) -> list[Array]:
    classes = _by_label(labels, generator)
    for _ in range(TRIES):
        parts: list[list[Array]] = [[] for _ in range(clients)]
        for members in classes:
            shares = generator.dirichlet(np.full(clients, concentration))
            cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(int)
            for part, taken in zip(parts, np.split(members, cuts), strict=True):
                part.append(taken)
        made = [np.concatenate(part) for part in parts]
        if all(len(part) for part in made):
            break
    return made


def _dealt(labels: Array, clients: int, number: int, generator: np.random.Generator) -> list[Array]:
    classes = _by_label(labels, generator)
    number = min(number, len(classes))
    order = generator.permutation(len(classes))
    held = np.resize(order, clients * number).reshape(clients, number)
    parts: list[list[Array]] = [[] for _ in range(clients)]
    for label, members in enumerate(classes):
        holders = np.flatnonzero((held == label).any(axis=1))
        if len(holders):
            for holder, taken in zip(holders, np.array_split(members, len(holders)), strict=True):
                parts[holder].append(taken)
    return [np.concatenate(part) for part in parts]
