"""Python processes that are forked from one which has loaded PyTorch already.

To load it takes longer than most of what a test asks of a process. What is forked is a process of
its own all the same, with its own pipes, environment, directory and status. A test of how the
program starts, or one that sends it signals, starts it afresh (`program.COMMAND`).

    python forks.py serve SOCKET             the process that is forked
    python forks.py run SOCKET ARGUMENT...   as `python ARGUMENT...`: -m MODULE, -c CODE or a file
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys

# What most commands import.
LOADED = (
    *("torch", "attn_cli.cli.train_mt", "attn_cli.cli.decode", "attn_cli.cli.score"),
    *("attn_cli.systems.translation.recipe", "attn_cli.systems.translation.translator"),
    *("attn_cli.systems.tasks.predictor", "sacrebleu", "sentencepiece"),
)


def run(place: str, arguments: list[str]) -> int:
    """Has it done by a fork with this process's streams; returns its status, -N for signal N."""
    folder = os.getcwd()  # noqa: PTH109 - pathlib takes longer to load than all of this
    request = {"arguments": arguments, "folder": folder, "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(place)
        socket.send_fds(connection, [b"\0"], [0, 1, 2])
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answer:
            return int(answer.readline())


def serve(place: str) -> None:
    """Forks for each who connects, until standard input ends."""
    import gc
    import importlib
    import select
    from pathlib import Path

    sys.path[0] = str(Path(__file__).parents[1])
    from attn_cli.threads import wait_gently

    wait_gently()
    for name in LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # nor do forks go through these objects
    signal.signal(signal.SIGCHLD, _reap)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{place}.new")
    listener.listen(64)
    Path(f"{place}.new").rename(place)
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection = listener.accept()[0]
        if not os.fork():
            listener.close()
            _answer(connection)
            return
        connection.close()


def _reap(*_: object) -> None:
    """Lets those go who waited for a program."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(connection: socket.socket) -> None:
    """In a fork: becomes the program, in a fork of its own, or says what status it ended with."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = socket.recv_fds(connection, 1, 3)[1]
    with connection.makefile("rb") as asked:
        request = json.loads(asked.readline())
    program = os.fork()
    if not program:
        connection.close()
        _take(streams)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        _become(request["arguments"])
    for stream in streams:
        os.close(stream)
    _kill_when_left(connection, program)
    status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    connection.sendall(f"{status}\n".encode())
    os._exit(0)


def _take(streams: list[int]) -> None:
    """Makes them the standard ones, in the encoding that Python has chosen for these."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(streams[number], number)
        os.close(streams[number])
        old = getattr(sys, name)
        stream = open(  # noqa: SIM115 - as long as the process lives
            *(number, "w" if number else "r", 1 if name == "stderr" else -1),
            encoding=old.encoding,
            errors=old.errors,
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _kill_when_left(connection: socket.socket, program: int) -> None:
    """Kills the program when nobody waits for it any more, as a test that ran out of time."""
    import threading

    def watch() -> None:
        if not connection.recv(1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(program, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _become(arguments: list[str]) -> None:
    import atexit
    import runpy
    import threading
    import traceback
    from pathlib import Path

    how, *sys.argv = arguments if arguments[0] in ("-m", "-c") else ("", *arguments)
    sys.path[0] = str(Path.cwd() if how else Path(sys.argv[0]).parent)
    status = 1
    try:
        if how == "-m":
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        elif how == "-c":
            code, sys.argv[0] = sys.argv[0], "-c"
            exec(code, {"__name__": "__main__"})
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if status and status is not stop.code:
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)  # to take all modules apart would cost more than all the rest


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        ended = run(sys.argv[2], sys.argv[3:])
        sys.stdout = sys.stderr = None  # nothing of this process's own is left to write
        if ended < 0:
            os.kill(os.getpid(), -ended)
        sys.exit(ended)
