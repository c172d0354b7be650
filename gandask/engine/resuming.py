"""What a run may be continued with: its own settings, data and networks, wherever those lie now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gandask import config, results
from gandask.core import IDENTITY, WHERE, Method, StoreError, alike
from gandask.methods import STORED
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
    found, began = kept.method(STORED), kept.begun_with(STORED)
    refuse_functions(kept, found, given)
    places = places_of(kept)
    for key, then, now in differing(began, found, places):
        # a budget may have cut its length
        if key not in {*found.schedules, *found.schedules.values(), *found.extends}:
            raise StoreError(
                f"{key}={now!r}: the run in {str(kept.path)!r} began with {then!r}, which cannot "
                "change while running: put its files back as they were"
            )
    if differing(given, began, places):
        for key, here, there in differing(given, found, places):
            raise StoreError(
                f"{key}={here!r}: the run in {str(kept.path)!r} has {there!r}; "
                "continue it with its own settings, or choose another name"
            )
    return moved(found, given, places)


def refuse_functions(kept: Store, found: Method[Any], given: Method[Any]) -> None:
    """Raise StoreError for a function that a run names, and the settings given do not."""
    named = config.functions(found) - config.functions(given)
    if named:
        raise StoreError(
            f"{', '.join(sorted(named))}: the run in {str(kept.path)!r} names a function that the "
            "settings given do not; if it is your own, give it as well"
        )


def places_of(kept: Store) -> set[str]:
    """Name the settings that tell where things lie of which a run knows what they are."""
    facts = kept.description["facts"]
    return {name for fact, names in WHERE.items() if fact in facts for name in names}


def moved(found: Method[Any], given: Method[Any], places: Collection[str]) -> Method[Any]:
    """Give the settings of a run, with things where those given say."""
    known = {f.name for f in config.fields(found)}
    return config.replace(found, {key: getattr(given, key) for key in known.intersection(places)})


def differing(
    one: Method[Any], other: Method[Any], but: Collection[str]
) -> list[tuple[str, Any, Any]]:
    """Give the settings that differ, with both values."""
    ours, theirs = config.to_dict(one), config.to_dict(other)
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if key not in but]
    return [
        (key, ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)
    ]


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
    begun = kept.checkpoints.last() is not None
    told = other_facts(kept.description["facts"], facts, begun)
    if told:
        raise StoreError(f"the run in {str(kept.path)!r}: {told}: put those back, or begin another")


def other_facts(then: Mapping[str, Any], now: Mapping[str, Any], begun: bool) -> str:
    """Say what names stand for now that they did not when a run began, or nothing.

    Parameters
    ----------
    then, now : mapping
        Facts.
    begun : bool
        Whether it has networks of its own, and needs none to start from.
    """
    for key, meant in IDENTITY.items():
        if key not in then or alike(then[key], now.get(key)) or (begun and key == "init_digest"):
            continue
        if key.endswith("_behaviour"):
            if key not in now:  # what is never the same, of which the trial warns
                continue
            return f"{meant} were others when it began: they compute something else now ({key})"
        said = ("samples", "sample_shape", "classes") if key == "fingerprint" else ()
        told = [key, *(name for name in said if name in now and then.get(name) != now[name])]
        before, after = (", ".join(f"{k} {of.get(k)}" for k in told) for of in (then, now))
        return f"{meant} were others when it began ({before}; now {after})"
    return ""


def other_versions(kept: Store) -> str:
    """Say which versions and processor a run began with, where they are others now."""
    began = kept.description["facts"]
    changed = [
        f"{key.removesuffix('_version')} {now}, begun with {began[key]}"
        for key, now in results.versions().items()
        if began.get(key, now) != now
    ]
    return "; ".join(changed)
