"""What a run may be continued with: its own settings, data and networks, wherever those lie now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gandask import config, results
from gandask.core import IDENTITY, Method, StoreError
from gandask.methods import METHODS
from gandask.store import Store


def stored(kept: Store, given: Method[Any]) -> Method[Any]:
    """Give the settings of a stored run, and refuse to continue it with others.

    It may have been changed while it ran: who continues it need not repeat that. Where its data
    are, the settings given say; what they are is for `refuse_others`.

    Raises
    ------
    StoreError
        For other settings, and for a function that the settings given do not name.
    """
    found, began = kept.method(METHODS), kept.begun_with(METHODS)
    named = config.functions(found) - config.functions(given)
    if named:
        raise StoreError(
            f"{', '.join(sorted(named))}: the run in {str(kept.path)!r} names a function that the "
            "settings given do not; if it is your own, give it as well"
        )
    for key, then, now in _differing(config.to_dict(began), config.to_dict(found)):
        if key not in {*found.schedules, *found.schedules.values()}:
            raise StoreError(
                f"{key}={now!r}: the run in {str(kept.path)!r} began with {then!r}, which cannot "
                "change while running: put its files back as they were"
            )
    places = {f.name for f in config.fields(found) if "where" in f.metadata}
    others = [
        [
            (key, *values)
            for key, *values in _differing(config.to_dict(given), known)
            if key not in places
        ]
        for known in (config.to_dict(began), config.to_dict(found))
    ]
    if all(others):
        key, here, there = others[-1][0]
        raise StoreError(
            f"{key}={here!r}: the run in {str(kept.path)!r} has {there!r}; "
            "continue it with its own settings, or choose another name"
        )
    return config.replace(found, {key: getattr(given, key) for key in places})


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Give the settings that differ, with both values."""
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            yield key, one.get(key), other.get(key)


def refuse_others(kept: Store, facts: Mapping[str, Any]) -> None:
    """Refuse to continue a run with other data, networks or losses under the same names.

    Parameters
    ----------
    facts : mapping
        What `Method.prepare` finds now.

    Raises
    ------
    StoreError
        Naming what is another.
    """
    began = kept.description["facts"]
    for key, meant in IDENTITY.items():
        if key in began and began[key] != facts.get(key):
            said = ("samples", "sample_shape", "classes") if key == "fingerprint" else ()
            told = [key, *(name for name in said if began.get(name) != facts.get(name))]
            then, now = (", ".join(f"{k} {of.get(k)}" for k in told) for of in (began, facts))
            raise StoreError(
                f"{meant}: those of the run in {str(kept.path)!r} were others ({then}; now "
                f"{now}): put those back, or begin another run"
            )


def other_versions(kept: Store) -> str:
    """Say which versions and processor a run began with, where they are others now."""
    began = kept.description["facts"]
    changed = [
        f"{key.removesuffix('_version')} {now}, begun with {began[key]}"
        for key, now in results.versions().items()
        if began.get(key, now) != now
    ]
    return "; ".join(changed)
