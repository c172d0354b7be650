"""What settings of PrivacyGAN may be: clients, shares, and the teacher's loss."""

from __future__ import annotations

from typing import Any

import torch

from gandask import config
from gandask.clients.connecting import address
from gandask.clients.credentials import NAME
from gandask.core import SettingError
from gandask.training.losses import LOSSES

MOST = 1000
"""Clients."""
FAR = 1e6  # a logit of which D is as sure as can be
BOUND = 1e3


def check_clients(clients: Any, server: str | None) -> int | tuple[str, ...]:
    """Check how many clients there are, or how they are called and where they dial.

    Raises
    ------
    SettingError
    """
    if type(clients) is int:
        if not 1 <= clients <= MOST:
            raise SettingError(f"clients={clients}: expected 1 to {MOST}, or their names")
        if server is not None:
            raise SettingError(
                f"server={server!r}: where clients that are named dial in; clients={clients} are "
                "simulated: name them, or leave it out"
            )
        return clients
    named = tuple(clients) if isinstance(clients, list | tuple) else ()
    if not named or not all(isinstance(name, str) and NAME.fullmatch(name) for name in named):
        raise SettingError(
            f"clients={clients!r}: expected a number, or names such as ['hospital', 'clinic'] of "
            "letters, digits, dots, underscores and hyphens"
        )
    for name in named:
        if named.count(name) > 1:
            raise SettingError(f"clients: two are called {name!r}; give each a name of its own")
    if server is None:
        raise SettingError(
            "clients that are named dial in: give server='HOST:PORT', where they and the workers "
            "reach the process that runs this"
        )
    address(server)
    return named


def check_alpha(alpha: Any, clients: int) -> float | tuple[float, ...]:
    """Check the shares of clients in what students learn from.

    Raises
    ------
    SettingError
    """
    each = alpha if isinstance(alpha, list | tuple) else [alpha]
    numbers = [one for one in each if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) != len(each) or not all(0 < one <= 1 for one in numbers):
        raise SettingError(
            f"alpha={alpha!r}: expected a number above 0 and up to 1, or one for each client; 1 is "
            "the client alone"
        )
    if isinstance(alpha, list | tuple):
        if len(numbers) != clients:
            raise SettingError(
                f"alpha: expected {clients} numbers, one per client, got {len(each)}"
            )
        return tuple(map(float, numbers))
    return float(numbers[0])


def check_loss(name: str) -> None:
    """Refuse a loss of the teacher that has no bound below: against it students would run away.

    Raises
    ------
    SettingError
    """
    loss = config.lookup("teacher_loss", name, LOSSES)
    far = (torch.full((1, 1), logit, dtype=torch.float64) for logit in (-FAR, FAR))
    if min(float(loss.generator(logit)) for logit in far) < -BOUND:
        raise SettingError(
            f"teacher_loss={name!r}: falls without bound as a frozen teacher is fooled, and the "
            "student would follow it away from the client's data; choose 'bce', 'heuristic' or "
            "'least_squares'"
        )
