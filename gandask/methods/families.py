"""Base GANs by name: the families that a group's generator and discriminator are of.

A pair that a regrouping brings together may be of two families: its generator is made and fed as
the one's, and its discriminator made, and its loss chosen, as the other's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gandask import config
from gandask.core import SettingError
from gandask.training import networks
from gandask.training.networks import Network


def read(base: Any, groups: int) -> Any:
    """Check the base GANs that a user gave: one name, or one or a pair for each group.

    Raises
    ------
    SettingError
        For anything else, or a name that is not in `NETWORKS`.
    """
    each = [base] if isinstance(base, str) else base
    if not isinstance(each, list | tuple) or (not isinstance(base, str) and len(each) != groups):
        raise SettingError(
            f"base={base!r}: expected a name in NETWORKS, or {groups} of them, one for each group"
        )
    made = tuple(one(each_base, base) for each_base in each)
    return base if isinstance(base, str) else made


def one(base: Any, told: Any = None) -> str | tuple[str, str]:
    """Check one base GAN: a name, or a pair of them.

    Parameters
    ----------
    told : optional
        What is spoken of where it is wrong, if it is a part of that.

    Raises
    ------
    SettingError
        For anything else, or a name that is not in `NETWORKS`.
    """
    pair = (base, base) if isinstance(base, str) else base
    whole = isinstance(pair, list | tuple) and len(pair) == 2
    if not whole or not all(isinstance(name, str) for name in pair):
        raise SettingError(
            f"base={base if told is None else told!r}: expected names, or pairs such as "
            f"('dcgan', 'wgan'), not {base!r}"
        )
    for name in pair:
        config.lookup("base", name, networks.NETWORKS)
    return base if isinstance(base, str) else (pair[0], pair[1])


def by_group(base: Any, groups: int) -> tuple[tuple[str, str], ...]:
    """Give the families of every group's generator and discriminator.

    Examples
    --------
    >>> by_group("mlp", 2), by_group(("mlp", ("dcgan", "wgan")), 2)
    ((('mlp', 'mlp'), ('mlp', 'mlp')), (('mlp', 'mlp'), ('dcgan', 'wgan')))
    """
    each = (base,) * groups if isinstance(base, str) else base
    return tuple((one, one) if isinstance(one, str) else one for one in each)


def paired(maker: str, judge: str) -> Network:
    """Join the generator of one family with the discriminator and the loss of another.

    Raises
    ------
    SettingError
        If one takes labels and the other does not.
    """
    one, other = networks.NETWORKS[maker], networks.NETWORKS[judge]
    if one.conditional != other.conditional:
        raise SettingError(
            "they cannot be paired: one takes labels and the other does not; choose base GANs that "
            "all do or all do not"
        )
    return replace(one, discriminator=other.discriminator, loss=other.loss)
