"""What torch is told process-wide and thread by thread, settled while gandask computes.

A notebook may have set any of it for purposes of its own. A task comes to the same there as on a
worker, and finds afterwards what it found before.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from gandask.training.rounding import BF16

CPU = torch.device("cpu")
_settling = threading.Lock()
_before: list[list[Any]] = []  # for each who computes now, what the process had before all of them
_in_order: list[bool] = []  # for each of them, whether a GPU does it
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""What the library of products is to be told for one order, and torch asks for then."""


@contextlib.contextmanager
def settled(threads: int, precision: str, device: torch.device = CPU) -> Iterator[None]:
    """Compute in float32 on the CPU unless told otherwise, with gradients, as torch does by itself.

    A GPU would add up in whatever order comes first; it is told to keep to one, so that the same
    comes to the same bits. torch warns of an operation that has no such order.

    The threads of a process share what is process-wide: the last to leave restores it. How many
    threads torch uses is told to each of them, and what the last was told to those to come.

    Parameters
    ----------
    threads : int
        For one operation of torch.
    precision : {"highest", "high", "medium", "bf16"}
        Of float32 products; the highest beside steps in bfloat16.
    device : torch.device, optional
        What will compute.
    """
    with _process_settled(threads, precision, device.type == "cuda"), _thread_settled():
        yield


@contextlib.contextmanager
def _process_settled(threads: int, precision: str, in_order: bool) -> Iterator[None]:
    own = torch.get_num_threads()
    with _settling:
        _before.append(_before[0] if _before else [read() for read, _ in _PROCESS])
        _in_order.append(in_order)
        torch.set_num_threads(threads)
        if threads > 1:
            _let_fork()
        torch.set_float32_matmul_precision("highest" if precision == BF16 else precision)
        torch.set_default_dtype(torch.float32)
        _set_order()
        torch.autograd.set_detect_anomaly(False)
    try:
        yield
    finally:
        with _settling:
            before = _before.pop()
            _in_order.remove(in_order)
            if _before:
                _set_order()
            else:
                for (_, write), value in zip(_PROCESS, before, strict=True):
                    write(value)
            # one that is new began with what the others had settled: it has none of its own
            if _before or own != threads:
                torch.set_num_threads(own)


def _set_order() -> None:
    """Ask for one order of adding up, as long as a GPU computes for anybody."""
    wanted = any(_in_order)
    torch.set_deterministic_debug_mode("warn" if wanted else "default")
    if wanted:
        if not _workspace():
            _set_workspace(":4096:8")
        # memory that is not written to yet is not read either: filling it takes time alone
        _set_filling(False)


@functools.cache
def _let_fork() -> None:
    """Give processes that are forked from now on one thread in torch.

    The others that there are here are not forked along: an operation would wait for them for ever.
    """
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


@contextlib.contextmanager
def _thread_settled() -> Iterator[None]:
    with contextlib.ExitStack() as within:
        within.enter_context(torch.inference_mode(False))  # turns gradients on, too
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                within.enter_context(torch.autocast(kind, enabled=False))
        # only where it is another one: as long as one is set, every call of torch takes longer
        if torch.get_default_device() != torch.device("cpu"):
            within.enter_context(torch.device("cpu"))
        within.enter_context(
            np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
        )
        if _flushes():
            torch.set_flush_denormal(False)
            within.callback(torch.set_flush_denormal, True)
        yield


def _flushes() -> bool:
    """Tell whether this thread takes the smallest numbers for 0."""
    return not (torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1).is_nonzero()


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _products() -> tuple[str, ...]:
    """Read how precise products are: in one word, or of each backend where that was set."""
    try:
        return (torch.get_float32_matmul_precision(),)
    except RuntimeError:  # backends are at odds, for which there is no word
        return tuple(backend.fp32_precision for backend in _BACKENDS)


def _set_products(told: tuple[str, ...]) -> None:
    if len(told) == 1:
        torch.set_float32_matmul_precision(*told)
    else:
        for backend, precision in zip(_BACKENDS, told, strict=True):
            backend.fp32_precision = precision


_torch: Any = torch  # whose types lack this


def _workspace() -> str | None:
    return os.environ.get(WORKSPACE)


def _set_workspace(told: str | None) -> None:
    if told is None:
        os.environ.pop(WORKSPACE, None)
    else:
        os.environ[WORKSPACE] = told


def _filling() -> bool:
    return bool(_torch.utils.deterministic.fill_uninitialized_memory)


def _set_filling(told: bool) -> None:
    _torch.utils.deterministic.fill_uninitialized_memory = told


_BACKENDS = (_torch.backends.cuda.matmul, _torch.backends.mkldnn.matmul)

#: What is process-wide: how it is read, and set.
_PROCESS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_num_threads, torch.set_num_threads),
    (_products, _set_products),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (_filling, _set_filling),
    (_workspace, _set_workspace),
    (_anomaly, lambda told: torch.autograd.set_detect_anomaly(*told)),
)
