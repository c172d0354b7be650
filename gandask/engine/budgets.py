"""Budgets of a run: seconds, or rounds without a better score, after which it ends early.

It then ends as one that was asked for no more rounds: with its last scores, and with settings that
say so many rounds. Whatever repeats it comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gandask.core import Method, SettingError
from gandask.engine.options import Options
from gandask.results import Results


def check(method: Method[Any], options: Options, facts: Mapping[str, Any]) -> None:
    """Refuse a budget that could not end the run.

    Raises
    ------
    SettingError
    """
    asked = {"max_seconds": options.max_seconds, "patience": options.patience}
    given = [f"{key}={value!r}" for key, value in asked.items() if value is not None]
    if given:
        try:
            method.ended(1)
        except SettingError as error:
            raise SettingError(f"{given[0]}: {error}") from error
    if options.patience is not None:
        score = str(facts.get("score", ""))
        variable = method.layout().variables.get(score)
        by_round = variable is not None and variable.better and variable.by_round
        if not by_round or getattr(method, "score_samples", None) == 0:
            raise SettingError(
                f"patience={options.patience!r}: no score is computed round by round; "
                "ask for one (score_samples), or leave it out"
            )


def spent(options: Options, score: str, results: Results, elapsed: float) -> str:
    """Say which budget of a run is spent, if one is.

    Parameters
    ----------
    score : str
        The variable that is to become better.
    elapsed : float
        Seconds that the run has taken, without pauses.
    """
    if options.max_seconds is not None and elapsed >= options.max_seconds:
        return f"{elapsed:.0f} s of max_seconds={options.max_seconds:g}"
    if options.patience is not None:
        best, last = results.best_round(score)
        if last - best >= options.patience:
            return f"no better {score} since round {best}, with patience={options.patience}"
    return ""
