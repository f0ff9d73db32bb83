"""Work that several processes share, and that ends with the process that asked for it."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """How many cores this process may use: ``srun -c``, ``taskset`` and cpusets leave some out."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[Iterator[Result]]:
    """Yield the results of ``function`` for each of ``items``, in any order.

    Args:
        processes: 1, or where there is one item: in this process.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        yield map(function, items)
        return
    # A pool ends its processes by SIGTERM. One that has only just begun has this process's handler,
    # which would take the signal for itself: there it waits until the process has its own.
    with signals_held_back([signal.SIGTERM]):
        started = multiprocessing.get_context("fork").Pool(processes, _begin)
    with started as pool:
        yield pool.imap_unordered(function, items)


@contextlib.contextmanager
def signals_held_back(numbers: Iterable[int]) -> Iterator[None]:
    """Let no signal meet the processes that are started meanwhile before they can heed it.

    They inherit the mask, and take it away when they have handlers of their own.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """A signal of the terminal ends the process that asked, which ends this one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()


def die_with_parent() -> None:
    """End this process, a child of ``multiprocessing``, as soon as the one that started it is gone.

    A forkserver lies between a loader's worker and its rank and survives the rank for minutes;
    what the child sees of the rank itself is the end of a pipe.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_die, args=(parent.sentinel,), daemon=True).start()


def _wait_and_die(sentinel: Any) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
