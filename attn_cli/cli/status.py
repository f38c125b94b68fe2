"""Standard streams that may be closed or broken, and the exit status of the stream contract."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from attn_cli.errors import AttnError
from attn_cli.threads import rank


def exit_status(command: Callable[[], object]) -> int:
    """Runs a command to its status; what a user can mend becomes one line on stderr.

    0 done, 1 failed, 2 wrong usage (what was named is not there, too), 3 input data refused, 130
    interrupted, 143 terminated; a
    reader of stdout that has read enough gives SIGPIPE's own status.
    """
    status = 0
    try:
        _hold_standard_streams()
        status = _run(command)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _abandon_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _abandon_stdout()
        return status or _failed(f"standard output: {error.strerror or error}", 1)
    except AttnError as error:
        return _failed(str(error), error.exit_code)


def _run(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            raise stop.__context__ from None
        return stop.code if isinstance(stop.code, int) else 1
    except AttnError as error:
        return _failed(str(error), error.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        raise
    except OSError as error:  # a disk, a right, a limit of the system: never a bug of ours
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}", 1)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        return _failed("out of memory", 1)
    return 0


def _hold_standard_streams() -> None:
    """Keeps the numbers 0 to 2 taken, so that no file opened later is written to by mistake.

    Raises:
        AttnError: standard output is closed, so that there is nowhere to put the result.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    if sys.stderr is None:  # print() would take stdout instead
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: PTH123, SIM115
    if sys.stdout is None:
        raise AttnError("standard output is closed; redirect it to a file or to /dev/null")
    if rank():  # of several processes rank 0 writes
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _abandon_stdout() -> None:
    """Lets the interpreter's own flush at exit go nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, status: int) -> int:
    if not message:  # another process says why
        return status
    with contextlib.suppress(OSError, ValueError):
        print(f"attn: {message}", file=sys.stderr, flush=True)
    return status
