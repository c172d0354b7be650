"""A stored run, decided anew: a method is pure, so its log gives back all that it knew."""

from __future__ import annotations

from gandask.core import StoreError
from gandask.engine.session import Session
from gandask.store import Store


def replay(session: Session, store: Store) -> float:
    """Let a session's method decide anew what it decided up to the end of the log.

    Stages stay what they were: slots that went on at their own pace have tasks of several plans
    left, and what a later stage reads is written by an earlier one.

    Returns
    -------
    float
        Seconds that the run had taken by then.

    Raises
    ------
    StoreError
        If the log cannot be read, or is not one of these settings.
    """
    ledger, elapsed = session.ledger, 0.0
    with store.columns.replaced() as write:
        for elapsed, reports in store.steps():
            try:
                ledger.plan(session.plan)
                sent = ledger.report(reports)
                session.view, session.plan = session.method.advance(session.view, reports)
                ledger.keep(session.view.keeps)
            except Exception as error:  # whatever a method says to reports that are none of its own
                raise StoreError(
                    f"{store.log.path} is not the log of a run with the settings beside it "
                    f"({type(error).__name__}: {error})"
                ) from error
            write(session.results.add(session.view, reports, elapsed, sent))
    session.plan = [*ledger.unfinished(), *session.plan]
    return elapsed
