"""What can be asked of a run while a process is at work on it, perhaps another one."""

from __future__ import annotations

from typing import Any

from gandask.core import Method, StoreError
from gandask.runs.advice import advice
from gandask.store import LIVE, Store
from gandask.store.steering import CHANGE, PAUSE, RESUME, STOP, Command, steered


class Steered:
    """A run that can be paused, stopped and changed."""

    store: Store

    @property
    def state(self) -> str:
        """One of running, paused, finished, failed, stopped, interrupted."""
        return self.store.state

    @property
    def _made(self) -> Method[Any]:
        """The method, to be asked: its functions are never called."""
        raise NotImplementedError

    def pause(self) -> None:
        """Let the run wait after the step under way, until `resume`."""
        self._ask(Command(PAUSE))

    def resume(self) -> None:
        """Let a paused run go on. One that has ended is continued by ``gd.run(resume=True)``."""
        self._ask(Command(RESUME))

    def stop(self) -> None:
        """End the run after this round, with a checkpoint to continue it from."""
        self._ask(Command(STOP))

    def change(self, **changes: Any) -> None:
        """Give the run other settings from the next round on.

        Parameters
        ----------
        **changes
            Those that its method lets change, by name: see its ``schedules``.

        Raises
        ------
        SettingError
            For a setting that cannot change, or a value that cannot work.
        """
        self._check_live(CHANGE)
        begun = self.store.description["round"]
        method = steered(self._made, changes, begun)
        # as the method understood them: plain values, which the file of commands can hold
        entries = {key: getattr(method, method.schedules[key]) for key in changes}
        plain = {key: entry[str(begun + 1)] for key, entry in entries.items()}
        self._ask(Command(CHANGE, plain))

    def _ask(self, command: Command) -> None:
        """Ask something of the run's process."""
        self._check_live(command.name)
        self.store.ask(command)

    def _check_live(self, asked: str) -> None:
        """Raise StoreError if nobody is at work on the run any more."""
        if self.state not in LIVE:
            then = f"; {told}" if (told := advice(self.store.path, self.state)) else ""
            raise StoreError(
                f"{self.store.path} is {self.state}, so nobody is there to {asked} it{then}"
            )
