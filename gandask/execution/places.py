"""Slots that have a place: which worker each label has, and what becomes of it when that is gone.

Pure but for its memory: workers and the time in, events and new addresses out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gandask.core import ClusterError, Event
from gandask.execution.placement import place


@dataclass
class Places:
    """The workers of labels.

    A worker claims the label that is its name. Labels that no worker claims share the other
    workers, each one of its own as long as there are enough.

    Parameters
    ----------
    labels : mapping of str to str
        By slot. Slots without one go anywhere, but for claimed workers if there are others.
    strict : bool
        Whether a label has to be claimed.
    patience : float
        Seconds after which a claimed worker that is gone is lost for good.

    Examples
    --------
    >>> places = Places({"server/0": "server"})
    >>> _ = places.meet({"tcp://a": "0", "tcp://b": "server"}, now=0.0)
    >>> places.home("server/0"), places.free({"tcp://a": 1, "tcp://b": 1})
    ('tcp://b', {'tcp://a': 1})
    """

    labels: Mapping[str, str]
    strict: bool = False
    patience: float = 60.0
    homes: dict[str, str] = field(default_factory=dict)  # address by label
    claimed: set[str] = field(default_factory=set)
    gone: dict[str, float] = field(default_factory=dict)  # by label, since when

    def meet(self, workers: Mapping[str, str], now: float) -> tuple[dict[str, str], list[Event]]:
        """Take up which workers there are, name by address.

        Returns
        -------
        dict of str to str
            By the address of a worker that is gone, that of the one in its place.
        list of Event
            Of no round yet.

        Raises
        ------
        ClusterError
            If they have to be claimed: for a label that no worker has the name of.
        """
        if not workers or not self.labels:
            return {}, []
        before, events = dict(self.homes), list[Event]()
        addresses = {name: address for address, name in workers.items()}
        for label in dict.fromkeys(self.labels.values()):
            events += self._claim(label, addresses, now)
        self._share(workers)
        moved = {
            home: self.homes[label]
            for label, home in before.items()
            if home not in workers and self.homes[label] in workers
        }
        return moved, events

    def home(self, slot: str) -> str:
        """Give the address of a slot's worker, gone or not; nothing if it may go anywhere."""
        return self.homes.get(self.labels.get(slot, ""), "")

    def free(self, threads: Mapping[str, int]) -> dict[str, int]:
        """Leave out the workers that are claimed, if there are others."""
        reserved = {self.homes[label] for label in self.claimed}
        left = {address: count for address, count in threads.items() if address not in reserved}
        return left or dict(threads)

    @property
    def unclaimed(self) -> list[str]:
        """Labels that no worker has the name of."""
        return [label for label in dict.fromkeys(self.labels.values()) if label not in self.claimed]

    def _claim(self, label: str, addresses: Mapping[str, str], now: float) -> list[Event]:
        """Find the worker of a name; one that is gone is waited for."""
        if label in addresses:
            back = self.gone.pop(label, None)
            self.claimed.add(label)
            self.homes[label] = addresses[label]
            return [] if back is None else self._events("back", label, f"worker {label!r}")
        if label not in self.claimed:
            if self.strict:
                raise self._refused(label, addresses)
            return []
        if label not in self.gone:
            self.gone[label] = now
            return self._events("waiting", label, f"for worker {label!r}, which is gone")
        if now - self.gone[label] < self.patience:
            return []
        if self.strict:
            raise self._refused(label, addresses)
        self.claimed.remove(label)
        del self.gone[label], self.homes[label]
        return self._events("moved", label, f"worker {label!r} was gone for {self.patience:.0f} s")

    def _share(self, workers: Mapping[str, str]) -> None:
        """Give labels that nobody claims a worker each."""
        others = self.free(dict.fromkeys(workers, 1))
        kept = {label: home for label, home in self.homes.items() if home in others}
        self.homes |= place(self.unclaimed, others, kept)

    def _events(self, kind: str, label: str, detail: str) -> list[Event]:
        slots: Sequence[str] = [slot for slot, its in self.labels.items() if its == label]
        return [Event(0, kind, slot, detail, machine=True) for slot in slots]

    def _refused(self, label: str, addresses: Mapping[str, str]) -> ClusterError:
        slots = ", ".join(slot for slot, its in self.labels.items() if its == label)
        return ClusterError(
            f"no worker is named {label!r}, where {slots} has its place; there are: "
            f"{', '.join(sorted(addresses))}; start one of that name (dask worker --name {label}), "
            "or leave out strict_places"
        )
