"""What differential privacy costs: its settings, the accountant, and a ledger of what was spent.

DP-SGD after Abadi et al. (2016): gradients are clipped sample by sample, and their sum is noised.
How much that tells of one person is bounded by epsilon, which Opacus counts from the noise and the
share of samples of every step. Two data sets that differ by one sample are neighbours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import math
import os
import socket
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gandask import config
from gandask.core import DataError, SettingError, StoreError, lock
from gandask.core.files import DAMAGED, digest, opened, read_whole, sync, write_whole
from gandask.core.journal import Journal

LOCK, HOLDER = "lock", "holder"
"""Files beside a ledger: what its process holds locked, and which process that is."""

LEAST_NOISE = 1e-3
LONGEST = 1 << 12
"""Bytes of a line of a ledger."""


@config.settings
class DPSGD:
    """Differential privacy of a discriminator, by clipped and noised gradients (DP-SGD).

    Examples
    --------
    >>> DPSGD(noise=4, clip=0.5)
    DPSGD(noise=4.0, clip=0.5)
    """

    noise: float = config.setting(
        1.0,
        "deviation of the noise on the sum of clipped gradients, in units of `clip`: 0, or "
        "no less than 0.001",
        minimum=0,
        maximum=1e6,
    )
    clip: float = config.setting(
        1.0, "largest norm of the gradient of one sample", minimum=1e-6, maximum=1e6
    )
    delta: float = config.setting(
        1e-5, "chance that epsilon bounds nothing; well below 1 / samples", above=0, below=1
    )

    def __post_init__(self) -> None:
        if 0 < self.noise < LEAST_NOISE:
            raise SettingError(
                f"noise={self.noise}: expected 0, or {LEAST_NOISE} and more: less protects nobody, "
                "and what it costs cannot be computed"
            )


def opacus(module: str) -> Any:
    """Import a module of Opacus, which takes seconds: only where privacy is asked for.

    Raises
    ------
    SettingError
        If Opacus is not installed.
    """
    try:
        return importlib.import_module(f"opacus.{module}")
    except ImportError as error:
        raise SettingError(
            "differential privacy needs Opacus: pip install 'gandask[privacy]'"
        ) from error


def epsilon(steps: Iterable[tuple[float, float, int]], delta: float) -> float:
    """Compute the epsilon of steps in any order, by Opacus's accountant of Rényi privacy.

    Parameters
    ----------
    steps : iterable of (noise, rate, count)
        Noise in units of the clipping norm; the chance of each sample to be in a batch.
    delta : float

    Returns
    -------
    float
        0 without any step, infinite if one has no noise.

    Raises
    ------
    SettingError
        If Opacus is not installed.
    """
    counts: dict[tuple[float, float], int] = {}
    for noise, rate, count in steps:
        counts[noise, rate] = counts.get((noise, rate), 0) + count
    taken = [(noise, rate, count) for (noise, rate), count in counts.items() if count and rate]
    if not taken:
        return 0.0
    if any(noise < LEAST_NOISE for noise, _, _ in taken):
        return math.inf
    orders = opacus("accountants").RDPAccountant.DEFAULT_ALPHAS
    spent = sum(count * _of_a_step(noise, rate) for noise, rate, count in taken)
    with warnings.catch_warnings():
        # at the ends of the orders that it tries the bound is a loose one, but it is one
        warnings.filterwarnings("ignore", message="Optimal order is the")
        found, _ = opacus("accountants.analysis.rdp").get_privacy_spent(
            orders=orders, rdp=spent, delta=delta
        )
    return float(found)


@functools.lru_cache
def _of_a_step(noise: float, rate: float) -> Any:
    """Compute the Rényi privacy of one step, at each order: it adds up."""
    orders = opacus("accountants").RDPAccountant.DEFAULT_ALPHAS
    return opacus("accountants.analysis.rdp").compute_rdp(
        q=rate, noise_multiplier=noise, steps=1, orders=orders
    )


def sigma_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Find the noise by which steps cost no more than an epsilon, and at most 0.01 less.

    Parameters
    ----------
    epsilon, delta : float
    rate : float
        The chance of each sample to be in a batch, above 0 and up to 1.
    steps : int

    Raises
    ------
    SettingError
        If no noise does, or Opacus is not installed.
    """
    if not (0 < epsilon < math.inf and 0 < delta < 1 and 0 < rate <= 1 and steps >= 1):
        raise SettingError(
            f"epsilon={epsilon}, delta={delta}, rate={rate}, steps={steps}: expected numbers above "
            "0, delta below 1, rate up to 1, and a step or more"
        )
    search = opacus("accountants.utils").get_noise_multiplier
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Optimal order is the")
            return float(
                search(target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps)
            )
    except ValueError as error:
        raise SettingError(
            f"epsilon={epsilon}: no noise is enough for {steps} steps at delta={delta} and "
            f"rate={rate}; take a larger epsilon or delta"
        ) from error


@dataclass(frozen=True)
class Charge:
    """What one request costs.

    Attributes
    ----------
    key : str
        Digest of the request, with all that its answer depends on.
    run : str
    round : int
    steps : int
        Noised steps that it takes.
    noise : float
        In units of the clipping norm.
    rate : float
        The chance of each sample to be in a batch.
    """

    key: str
    run: str
    round: int
    steps: int
    noise: float
    rate: float

    def __post_init__(self) -> None:
        """Refuse what is no charge, as a damaged line is not.

        Raises
        ------
        ValueError
        """
        texts = isinstance(self.key, str) and bool(self.key) and isinstance(self.run, str)
        whole = all(type(number) is int and number >= 0 for number in (self.round, self.steps))
        noised = isinstance(self.noise, int | float) and 0 <= self.noise < math.inf
        if not (texts and whole and noised and 0 <= self.rate <= 1):
            raise ValueError(f"{self} is no charge")


class PrivacyLedger:
    """All that a client spent: each request once, on disk before it is answered.

    A line that was being written when its process ended was never answered, and is cut off. One
    process holds a ledger, until it ends or closes it.

    Parameters
    ----------
    path : Path, optional
        Made if it is not there. In memory alone if not given, as for a simulation.

    Raises
    ------
    DataError
        If the ledger is damaged: then nobody can tell what was spent.
    StoreError
        If another holds it, or it cannot be read or written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._charges: dict[str, Charge] = {}
        self._steps: dict[tuple[float, float], int] = {}  # all, by noise and rate
        self._mark = ""
        self._lock: lock.Lock | None = None
        self._journal: Journal | None = None
        if path is None:
            return
        try:
            self._lock = _taken(path.with_name(LOCK))
            # its name is on disk before its first line is
            opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT).close()
            sync(path.parent)
            self._journal = Journal(path, LONGEST)
            self._journal.mend()
            self._read(self._journal)
        except OSError as error:
            self.close()
            raise StoreError(f"{path} cannot be written: {error}") from error
        except BaseException:
            self.close()
            raise

    def _read(self, journal: Journal) -> None:
        """Read every charge; each line vouches for those before it."""
        try:
            for charge, mark in journal.read(_understood):
                if mark != _marked(self._mark, charge) or charge.key in self._charges:
                    raise StoreError(f"a line is not as it was written: {charge}")
                self._enter(charge, mark)
        except StoreError as error:
            raise DataError(
                f"the ledger {journal.path} is damaged, and what was spent cannot be told: put a "
                "copy of the whole folder in its place that is no older than the last answer, or "
                f"answer no more with these data ({error})"
            ) from error

    def charge(self, charge: Charge) -> None:
        """Enter a charge, durably; nothing if it was entered before.

        Raises
        ------
        ValueError
            If its request was charged otherwise before: the same noise would be used twice.
        StoreError
            If it cannot be written, as on a full disk; nothing is spent, nor may be answered.
        """
        known = self._charges.get(charge.key)
        if known is not None:
            if known != charge:
                raise ValueError(f"expected the charge of the same request, {known}, got {charge}")
            return
        mark = _marked(self._mark, charge)
        if self._journal is not None:
            if self._lock is None:
                raise StoreError(f"{self._journal.path} is closed: open it again to charge it")
            try:
                self._journal.append({**dataclasses.asdict(charge), "mark": mark})
            except OSError as error:
                raise StoreError(
                    f"{self._journal.path} cannot be written ({error}): nothing is answered; free "
                    "space on its disk, or have the folder made writable"
                ) from error
        self._enter(charge, mark)

    def _enter(self, charge: Charge, mark: str) -> None:
        """Count a charge that is on disk."""
        self._charges[charge.key], self._mark = charge, mark
        how = charge.noise, charge.rate
        self._steps[how] = self._steps.get(how, 0) + charge.steps

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What was spent, oldest first."""
        return tuple(self._charges.values())

    def spent(self, delta: float, key: str | None = None) -> float:
        """Compute the epsilon of all that was charged, up to the charge of a key if one is given.

        Raises
        ------
        ValueError
            If nothing was charged by that key.
        """
        if key is None or key == next(reversed(self._charges), None):
            return epsilon(self._counted(), delta)
        upto = [*self._charges].index(key) + 1  # seldom: it is asked again for what it has given up
        return epsilon([(one.noise, one.rate, one.steps) for one in self.charges[:upto]], delta)

    def would_spend(self, charge: Charge, delta: float) -> float:
        """Compute the epsilon of all that was charged, and of a charge that may be to come."""
        more = 0 if charge.key in self._charges else charge.steps
        return epsilon([(charge.noise, charge.rate, more), *self._counted()], delta)

    def _counted(self) -> list[tuple[float, float, int]]:
        return [(noise, rate, count) for (noise, rate), count in self._steps.items()]

    def close(self) -> None:
        """Let others have it; nothing can be charged any more."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _understood(told: Mapping[str, Any]) -> tuple[Charge, str]:
    """Read a line of a ledger: a charge, and its mark."""
    values = dict(told)
    mark = values.pop("mark")
    return Charge(**values), mark


def _marked(before: str, charge: Charge) -> str:
    """Give the mark of a charge, which stands on that of the one before."""
    return digest(f"{before} {json.dumps(dataclasses.asdict(charge))}")


def _taken(path: Path) -> lock.Lock:
    """Take the lock of a folder, and say there who has it.

    Raises
    ------
    StoreError
        If another has it, be it in this process, or nobody can.
    """
    holder = path.with_name(HOLDER)
    try:
        if lock.is_held(path):
            raise BlockingIOError
        held = lock.take(path)
    except BlockingIOError:
        told = "another process"
        with contextlib.suppress(*DAMAGED):
            told = read_whole(holder, LONGEST).decode()
        raise StoreError(
            f"{path.parent} is held by {told}: end that first, or choose another folder"
        ) from None
    if held is None:
        raise StoreError(
            f"{path.parent} is on a file system without locks, where two processes might spend the "
            "same budget: choose a folder on a disk of this machine"
        )
    write_whole(holder, f"process {os.getpid()} on {socket.gethostname()}")
    return held
