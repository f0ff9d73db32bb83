"""A ``python`` that has imported PyTorch, VISSL and MSCN before it is started.

Most tests that start a process need what VISSL's tool or a script does, not a new interpreter,
whose imports cost more than the run. :func:`started` starts a server that imports everything once,
and writes a program to call in the place of ``sys.executable``: it hands its arguments, folder,
environment and open files to the server, which forks a process for them. That process sees what it
would see in a new interpreter; signals that the program gets are handed on to it, its exit status
is handed back, and it is killed when the program is killed.

What differs from a new interpreter, so that tests of it have the mark ``new_interpreter``:

- modules are there already, and ranks are forked where VISSL would spawn them;
- its process number is not the program's, and ``SIGKILL`` of the program's process group reaches
  the forked process alone, some milliseconds later;
- ``PYTHONPATH``, variables that libraries read while they are imported, the seed of string hashes,
  umask and limits are the server's; of open files, it has the first three.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import marshal
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path

import numpy
import PIL.Image
import remembered
from hydra.core.override_parser.overrides_parser import OverridesParser

CLIENT = """#!/bin/sh
'''exec' "{python}" -IS "$0" "$@"
'''
import marshal, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
folder = os.open({folder!r}, os.O_RDONLY)
server.connect(f"/proc/self/fd/{{folder}}/socket")  # however long the folder's own path is
request = marshal.dumps((sys.argv[1:], os.getcwd(), dict(os.environ)))
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
def answer():
    number = server.recv(8, socket.MSG_WAITALL)
    if len(number) < 8:
        os.write(2, b"warm_python: the server has died\\n")
        os._exit(70)
    return int.from_bytes(number, "big")
pid = answer()
for number in (1, 2, 10, 12, 15):  # HUP, INT, USR1, USR2, TERM
    signal.signal(number, lambda number, _: os.kill(pid, number))
status = answer()
if os.WIFSIGNALED(status):
    signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != 9 else None
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.WEXITSTATUS(status))
"""

IMPORTED = (
    "antlr4.LL1Analyzer",
    "cv2",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.svm",
    "submitit",
    "tabulate",
    "torch.utils.cpp_extension",
    "torch.utils.serialization.config",
    "torch.utils.tensorboard",
    "torchvision",
    "tools",
    "vissl.data",
    "vissl.engines.extract_features",
    "vissl.engines.train",
    "vissl.hooks",
    "vissl.hooks.tensorboard_hook",
    "vissl.trainer",
    "vissl.utils.distributed_launcher",
    "vissl.utils.hydra_config",
)
"""Beside all of MSCN's modules. Not detectron2: its import is what reads its environment."""


@contextlib.contextmanager
def started(folder: Path, python: str = sys.executable, bare: bool = False):
    """Start a server of ``python``; yields the path of the program that takes its place.

    Args:
        bare: without the imports, where it is about the server alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "python"
    program.write_text(CLIENT.format(python=python, folder=str(folder)))
    program.chmod(0o755)
    server = subprocess.Popen(
        [python, __file__, str(program), *(["bare"] if bare else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={key: v for key, v in os.environ.items() if key not in ("WORLD_SIZE", "RANK")},
        start_new_session=True,
    )
    try:
        assert server.stdout.readline() == b"ready\n", "the server of warm_python has not started"
        yield str(program)
    finally:
        server.stdin.close()  # which ends it, as the death of this process would
        server.wait()
        server.stdout.close()


def import_everything() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    import mscn_plugin
    from mscn_plugin.config.checks import keys

    for module in pkgutil.walk_packages(mscn_plugin.__path__, "mscn_plugin."):
        if "detection" not in module.name:
            importlib.import_module(module.name)
    remembered.install()
    # What the first composition or image would do in each process.
    keys.vissl_defaults()
    OverridesParser.create().parse_overrides(["+a/b=c", "a.b=[x,{y:1.5}]", "~a.b"])
    PIL.Image.init()
    gc.collect()
    gc.freeze()  # what is imported is not looked at again in each process


def serve(program: str, bare: str = "") -> None:
    """Fork a process for each request to ``program``, until standard input ends."""
    # Where each forked process finds its scripts and folders is its own affair.
    sys.path.remove(str(Path(__file__).parent))
    if not bare:
        import_everything()
    folder = os.open(Path(program).parent, os.O_RDONLY)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"/proc/self/fd/{folder}/socket")
    os.close(folder)
    listener.listen()
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ, "end")
    selector.register(listener, selectors.EVENT_READ, "request")
    ends = {}  # of running processes, by the descriptor that tells of it
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.data == "end":
                for pid, _ in ends.values():
                    os.kill(pid, signal.SIGKILL)
                return
            if key.data == "request":
                client, _ = listener.accept()
                size, files, _, _ = socket.recv_fds(client, 8, 3)
                request = client.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
                if len(files) < 3:  # killed before it could ask
                    client.close()
                    continue
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    for other in (listener, client, *(other for _, other in ends.values())):
                        other.close()
                    for end in ends:
                        os.close(end)
                    run_in_fork(program, files, *marshal.loads(request))
                for file in files:
                    os.close(file)
                end = os.pidfd_open(pid)
                ends[end] = pid, client
                selector.register(end, selectors.EVENT_READ, "ended")
                selector.register(client, selectors.EVENT_READ, "killed")
                with contextlib.suppress(BrokenPipeError):
                    client.sendall(pid.to_bytes(8, "big"))
            elif key.data == "killed":  # a client never says anything more
                with contextlib.suppress(KeyError, ValueError):  # ended in the same moment
                    selector.unregister(key.fileobj)
                for pid, client in ends.values():
                    if client is key.fileobj:
                        os.kill(pid, signal.SIGKILL)
            elif key.fd in ends:
                pid, client = ends.pop(key.fd)
                selector.unregister(key.fd)
                with contextlib.suppress(KeyError):
                    selector.unregister(client)
                os.close(key.fd)
                _, status = os.waitpid(pid, 0)
                with contextlib.suppress(BrokenPipeError):
                    client.sendall(status.to_bytes(8, "big"))
                client.close()


def run_in_fork(program: str, files, arguments, folder, environment) -> None:
    """Be the interpreter that was asked for; does not return."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run behind "&"
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    sys.orig_argv = [sys.executable, *arguments]
    arguments = list(arguments)
    while arguments and arguments[0] in ("-W", "-u"):
        if arguments.pop(0) == "-u":
            sys.stdout.reconfigure(write_through=True)
        else:
            sys.warnoptions.append(arguments.pop(0))
            warnings._processoptions(sys.warnoptions[-1:])
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-c", "-m")):
        os.execv(sys.executable, sys.orig_argv)
    sys.executable = program
    numpy.random.seed()  # as Python's own generator is after a fork
    import torch.multiprocessing

    torch.multiprocessing.spawn = functools.partial(
        torch.multiprocessing.start_processes, start_method="fork"
    )
    code = 0
    try:
        run(arguments)
    except SystemExit as error:
        if isinstance(error.code, int) or error.code is None:
            code = (error.code or 0) & 0xFF
        else:
            print(error.code, file=sys.stderr)
            code = 1
    except BaseException as error:
        sys.excepthook(*sys.exc_info())
        code = 1
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, perhaps
            stream.flush()
    os._exit(code)


def run(arguments) -> None:
    """What ``python`` does with a command, a module or a script."""
    kind = arguments[0]
    if kind == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(kind).resolve().parent))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    serve(*sys.argv[1:])
