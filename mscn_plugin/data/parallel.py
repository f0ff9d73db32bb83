"""Work that several processes share, and that ends with the process that asked for it."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]  # not in its type hints
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from mscn_plugin.errors import RunError

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
        processes: 1, where there is one item, or in a loader's worker, which may have no processes
            of its own: in this process.

    Raises:
        RunError: from the iterator, when a process was killed. (``multiprocessing.Pool`` would
            wait for its result forever.)
    """
    processes = min(processes, len(items))
    if processes <= 1 or multiprocessing.current_process().daemon:
        yield map(function, items)
        return
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, BaseProcess] = {}
    try:
        # They are ended by SIGTERM. One that has only just begun has this process's handler, which
        # would take the signal for itself: there it waits until the process has its own.
        with signals_held_back([signal.SIGTERM]):
            for _ in range(processes):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(function, items, theirs), daemon=True)
                process.start()
                theirs.close()  # when the process ends, nobody holds this end
                workers[ours] = process
        yield _results(workers, len(items))
    finally:
        for worker in workers.values():
            worker.terminate()
        for connection, worker in workers.items():
            worker.join()
            connection.close()


def _results(workers: dict[Connection, BaseProcess], number: int) -> Iterator[Any]:
    """Hand out the places of the items, one to each process at a time, and yield what comes."""
    places, busy = iter(range(number)), set(workers)
    for connection in workers:
        with contextlib.suppress(OSError):  # it is killed already, as is found below
            connection.send(next(places))
    while busy:
        for ready in multiprocessing.connection.wait(busy):
            connection = cast(Connection, ready)
            try:
                error, result = connection.recv()
                place = next(places, None)
                if place is None:
                    busy.remove(connection)
                else:
                    connection.send(place)
            except (EOFError, OSError):
                raise RunError(_how_it_ended(workers[connection])) from None
            if error is not None:
                raise error
            yield result


def _work(
    function: Callable[[Item], Result], items: Sequence[Item], connection: Connection
) -> None:
    """Compute the items that are requested, by their places, until this process is ended."""
    _begin()
    while True:
        item = items[connection.recv()]
        answer: tuple[Any, Any]
        try:
            answer = None, function(item)
        except Exception as error:
            answer = ExceptionWithTraceback(error, error.__traceback__), None
        connection.send(answer)


def _how_it_ended(process: BaseProcess) -> str:
    process.join()
    status = process.exitcode or 0
    how = f"was killed (signal {-status})" if status < 0 else f"ended (status {status})"
    return (
        f"a worker process {how}: start again; if memory ran out, use fewer processes (--jobs, of "
        "the commands that have it)"
    )


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
    """A signal of the terminal ends the parent process, which ends this one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()


def die_with_parent() -> None:
    """End this process, a child of ``multiprocessing``, as soon as the one that started it is gone.

    A forkserver is between a loader's worker and its rank and survives the rank for minutes;
    what the child sees of the rank itself is the end of a pipe.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_die, args=(parent.sentinel,), daemon=True).start()


def _wait_and_die(sentinel: Any) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
