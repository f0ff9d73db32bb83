"""Signals that ask a run or a script to end.

Imports nothing heavy: commands call :func:`end_on_signals` before they import PyTorch.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from mscn_plugin.data.parallel import die_with_parent

EXIT_CODE = 75
"""Exit code of a run that was asked to end and can be resumed: EX_TEMPFAIL, "try again later"."""
CTRL_C_EXIT_CODE = 130
"""Exit code after Ctrl-C, a shell's for SIGINT: whoever started the run does not want it again."""
EXIT_CODES = (EXIT_CODE, CTRL_C_EXIT_CODE)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C; the system's and SLURM's; a closed terminal; ``--signal`` of SLURM; submitit's."""
SCRIPT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Those that a command of ours heeds; submitit sends its own to the jobs alone."""
WORKER_GRACE = 20
"""Seconds for which a loader's worker continues after SIGTERM, for the step under way."""
SAME_KEYSTROKE = 1.0
"""Seconds within which a second SIGINT is the first one: ``timeout`` sends it twice."""


def exit_code(signum: int | None) -> int:
    """The exit code of a run that ``signum`` has asked to end."""
    return CTRL_C_EXIT_CODE if signum == signal.SIGINT else EXIT_CODE


def end_on_signals(name: str) -> None:
    """Let :data:`SCRIPT_SIGNALS` end a command with one line and a run's exit codes.

    They raise SystemExit, so that files that are being written are removed; a second request ends
    the process at once. What is ignored stays ignored (``nohup``).

    Args:
        name: of the command, for the line.
    """
    asked: list[float] = []

    def end(signum: int, _frame: Any) -> None:
        now = time.monotonic()
        if asked and now - asked[0] > SAME_KEYSTROKE:
            os._exit(exit_code(signum))
        if not asked:
            asked.append(now)
            stopped = f"{name}: stopped by {signal.Signals(signum).name}"
            _write(f"{stopped}; to resume, start the same command again")
            raise SystemExit(exit_code(signum))

    for number in SCRIPT_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


@contextlib.contextmanager
def handlers_held_back(numbers: Iterable[int]) -> Iterator[None]:
    """Call the handlers of these signals after the block; for the main thread.

    To block the signals would not do: another thread may receive one, and Python calls its handler
    in the main thread all the same.
    """
    came: list[tuple[int, Any]] = []
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda signum, frame: came.append((signum, frame)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for signum, frame in came:
        handlers[signum](signum, frame)


class Interruption:
    """A request to end, which the training heeds at its next step boundary.

    Outside of training there is nothing to save, and the process ends at once. The process that
    started ranks passes the signal on to them and waits; a second Ctrl-C ends all at once.

    Attributes:
        signum: the signal that came, if any.
        unsaved: whether there may be steps that are in no checkpoint yet.
        afterwards: what resumes the run, in words.
    """

    afterwards = "the same command resumes"

    def __init__(self) -> None:
        self.signum: int | None = None
        self.unsaved = False
        self.previous: dict[int, Any] = {}
        self._pid = os.getpid()
        self._time = 0.0
        self._said = False
        self._exit: SystemExit | None = None

    def listen(self) -> None:
        """Take the signals over; does nothing outside of the main thread.

        What is ignored stays ignored (``nohup``), and what others have taken stays with them, but
        for submitit's: it ignores SIGTERM and requeues a job on SIGUSR2 alone.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if self._pid != os.getpid():  # forked, with the parent's handlers
            self.stop_listening()
        if self.previous:
            return
        self.signum, self.unsaved, self._pid = None, False, os.getpid()
        self._said, self._exit = False, None
        atexit.register(self._let_exit)
        for number in SIGNALS:
            handler = signal.getsignal(number)
            free = handler in (signal.SIG_DFL, signal.default_int_handler)
            if number == signal.SIGUSR2 and not _is_rank():
                take = callable(handler)  # else it is not sent
            else:
                take = free or number == signal.SIGUSR1 or _of_submitit(handler)
            if take and handler != signal.SIG_IGN:
                self.previous[number] = signal.signal(number, self._receive)

    def _receive(self, signum: int, _frame: Any) -> None:
        if os.getpid() != self._pid:  # a forked child that has no handlers of its own yet
            return
        now = time.monotonic()
        again = signum == self.signum == signal.SIGINT and now - self._time > SAME_KEYSTROKE
        self.signum, self._time = signum, now
        ranks = [child for child in multiprocessing.active_children() if not child.daemon]
        for rank in ranks:  # loaders' workers are daemons
            with contextlib.suppress(OSError):
                os.kill(rank.pid or 0, signal.SIGKILL if again else signum)
        if again and not _is_rank():
            raise SystemExit(CTRL_C_EXIT_CODE)
        if ranks or self.unsaved:
            _say("asked to end: waiting for the step and its checkpoint; Ctrl-C again ends at once")
            return
        self._end()

    def _let_exit(self) -> None:
        # Python's own exit takes seconds, in which a second signal would change the exit code.
        if self.signum is not None and os.getpid() == self._pid:
            for number in self.previous:
                signal.signal(number, signal.SIG_IGN)

    def end_if_asked(self) -> None:
        """Raise SystemExit where a signal has come and nothing would be lost."""
        if self.signum is not None and not self.unsaved:
            self._end()

    def _end(self) -> None:
        self.requeue()
        raise SystemExit(exit_code(self.signum))

    def requeue(self) -> None:
        """Say that the run ends, and call who listened before: submitit, which requeues the job.

        Not after Ctrl-C, not where the job's owner cancels it, and not from a rank: its parent
        does it.

        Raises:
            SystemExit: submitit's, each time: Python drops what is raised in a signal's handler
                where the signal meets a destructor.
        """
        signum = self.signum
        if signum is None or _is_rank():
            return
        if self._exit is not None:
            raise self._exit
        if not self._said:
            self._said = True
            _say(f"ended on request; {self.afterwards}")
        if signum == signal.SIGINT:
            return
        if signum == signal.SIGTERM and not _is_running_in_slurm():
            return
        of_submitit = [h for h in self.previous.values() if _requeues_by_submitit(h)]
        handler = of_submitit[0] if of_submitit else self.previous.get(signum)
        if callable(handler):
            self.stop_listening()  # SLURM ends what it requeues, which is no second request
            try:
                handler(signum, None)
            except SystemExit as end:
                self._exit = end
                raise
            except subprocess.CalledProcessError:
                _say("SLURM does not requeue this job")

    def stop_listening(self) -> None:
        """Give the signals back."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}


interruption = Interruption()
"""That of this process."""


@contextlib.contextmanager
def heeded_by_run() -> Iterator[None]:
    """Let a run in this process heed the signals that :func:`end_on_signals` has taken."""
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SCRIPT_SIGNALS}
    for number, handler in before.items():
        if callable(handler):  # neither ignored nor the system's
            own = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, own)
    try:
        interruption.listen()
        yield
    except BaseException:
        # On request the process ends, and its exit is not to meet a script's handlers.
        if interruption.signum is None:
            _give_back(before)
        raise
    _give_back(before)


def _give_back(handlers: dict[int, Any]) -> None:
    interruption.stop_listening()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _is_rank() -> bool:
    return multiprocessing.parent_process() is not None


def _of_submitit(handler: Any) -> bool:
    return type(getattr(handler, "__self__", None)).__module__.startswith("submitit.")


def _requeues_by_submitit(handler: Any) -> bool:
    return _of_submitit(handler) and handler.__name__ == "checkpoint_and_try_requeue"


def _is_running_in_slurm() -> bool:
    """Whether this is a job of SLURM that is not being canceled: SIGTERM announces both."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    command = ["scontrol", "show", "job", "--oneliner", job]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return "JobState=RUNNING" in shown


def _say(text: str) -> None:
    if not _is_rank():
        _write(f"mscn-plugin: {text}")


def _write(line: str) -> None:
    # A handler may have interrupted a write to the same stream, and the terminal may be gone.
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())


def shield_loader_worker(_worker: int = 0) -> None:
    """Let a loader's worker keep serving while signals to the whole process group end the run.

    SIGTERM ends it after :data:`WORKER_GRACE`, since it is also how Python ends a worker.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_GRACE))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    die_with_parent()
