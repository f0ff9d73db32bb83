"""Signals that ask a run to end, and the end of processes whose parent has died."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from typing import Any, Dict, Optional

EXIT_CODE = 75
"""Exit code of a run that was asked to end and can go on: EX_TEMPFAIL, "try again later"."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""The last one where somebody listens for it already: submitit, which has SLURM send it."""
WORKER_GRACE = 20
"""Seconds for which a loader's worker goes on after SIGTERM, for the step under way."""


class Interruption:
    """A request to end, which the training heeds at its next step boundary.

    SLURM sends SIGTERM before it preempts a job, and SIGUSR1 where ``--signal`` asks for it. The
    process that started ranks hands the signal on to them.
    """

    def __init__(self) -> None:
        self.signum: Optional[int] = None
        self.previous: Dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals over; does nothing outside of the main thread.

        SIGTERM stays with who has taken it before: submitit ignores it on purpose.
        """
        if self.previous or threading.current_thread() is not threading.main_thread():
            return
        self.signum = None
        for number in SIGNALS:
            taken = callable(signal.getsignal(number))
            if taken == (number == signal.SIGUSR2) or number == signal.SIGUSR1:
                self.previous[number] = signal.signal(number, self._remember)

    def _remember(self, signum: int, _frame: Any) -> None:
        self.signum = signum
        for child in multiprocessing.active_children():
            if not child.daemon and child.pid:  # a rank; loaders' workers are daemons
                os.kill(child.pid, signum)

    def stop_listening(self) -> Any:
        """Give the signals back; returns who listened before to the one that came, if any."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        handler = self.previous.get(self.signum) if self.signum else None
        self.previous = {}
        return handler if callable(handler) else None


interruption = Interruption()
"""That of this process."""


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


def shield_loader_worker() -> None:
    """Let a loader's worker serve on while signals to the whole process group end the run.

    SIGTERM ends it after :data:`WORKER_GRACE`, since it is also how Python ends a worker.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_GRACE))
    die_with_parent()
