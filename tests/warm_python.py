"""A ``python`` that has imported PyTorch, VISSL and MSCN before it is started.

Most tests that start a process need what VISSL's tool or a script does, not a new interpreter,
whose imports cost more than the run. :func:`start` starts a server that imports everything once,
and writes a program to call in the place of ``sys.executable``: it hands its arguments, folder,
environment and open files to the server, which forks a process for them. That process sees what it
would see in a new interpreter; signals that the program gets are handed on to it, its exit status
is handed back, and it is killed when the program is killed.

What differs from a new interpreter, so that tests of these things start ``sys.executable``:
modules are there already, ranks are forked where VISSL would spawn them, its process number is not
the program's, and ``SIGKILL`` of the program's process group reaches the forked process alone.
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

CLIENT = """#!{python} -IS
import marshal, os, signal, socket, sys
if "submitit.local._local" in sys.argv:  # which calls a job by the number of its own process
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = marshal.dumps((sys.argv[1:], os.getcwd(), dict(os.environ)))
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
pid = int.from_bytes(server.recv(8, socket.MSG_WAITALL), "big")
for number in (1, 2, 10, 12, 15):  # HUP, INT, USR1, USR2, TERM
    signal.signal(number, lambda number, _: os.kill(pid, number))
status = int.from_bytes(server.recv(8, socket.MSG_WAITALL), "big")
if os.WIFSIGNALED(status):
    signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != 9 else None
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.WEXITSTATUS(status))
"""

IMPORTED = (
    "cv2",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "sklearn.linear_model",
    "sklearn.svm",
    "submitit",
    "tabulate",
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
def started(folder: Path):
    """Start a server; yields the path of the program that takes the place of ``python``."""
    folder.mkdir(parents=True, exist_ok=True)
    program, address = folder / "python", folder / "socket"
    program.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, __file__, str(address), str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={key: v for key, v in os.environ.items() if key not in ("WORLD_SIZE", "RANK")},
        start_new_session=True,
    )
    try:
        assert server.stdout.readline() == b"ready\n"
        yield str(program)
    finally:
        server.stdin.close()  # which ends it, as the death of this process would
        server.wait()
        server.stdout.close()


def serve(address: str, program: str) -> None:
    """Fork a process for each request, until standard input ends."""
    # Where each forked process finds its scripts and folders is its own affair.
    sys.path.remove(str(Path(__file__).parent))
    for name in IMPORTED:
        importlib.import_module(name)
    import mscn_plugin

    for module in pkgutil.walk_packages(mscn_plugin.__path__, "mscn_plugin."):
        if "detection" not in module.name:
            importlib.import_module(module.name)
    import yaml

    yaml.SafeLoader = yaml.CSafeLoader  # reading YAML is much of what composing takes
    gc.collect()
    gc.freeze()  # what is imported is not looked at again in each process
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
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
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    listener.close()
                    client.close()
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
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
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
