"""Lines of results, on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from attn_cli.errors import AttnError


class LineWriter:
    r"""Writes result lines to standard output as UTF-8 with `\n`, whatever the locale."""

    def __init__(self) -> None:
        self._out = sys.stdout.buffer

    def write(self, *fields: str) -> None:
        """Writes one line of tab-separated fields.

        Raises:
            AttnError: standard output is full or broken; a reader that left is a BrokenPipeError.
        """
        try:
            self._out.write("\t".join(fields).encode("utf-8", "replace") + b"\n")
        except OSError as error:
            raise _stdout_error(error) from error

    def write_lines(self, lines: Iterable[str]) -> None:
        """Writes lines, and hands them to the reader; raises what `write` does."""
        try:
            self._out.write("".join([f"{line}\n" for line in lines]).encode("utf-8", "replace"))
            self._out.flush()
        except OSError as error:
            raise _stdout_error(error) from error

    def flush(self) -> None:
        """Hands everything written to the reader; raises what `write` does."""
        try:
            self._out.flush()
        except OSError as error:
            raise _stdout_error(error) from error


class ByteWriter:
    """Writes lines, or a file piece by piece, to standard output as they are."""

    def write_all(self, lines: Iterable[bytes]) -> None:
        """Writes lines with their ends, and hands them to the reader.

        Raises:
            AttnError: standard output is full or broken; a reader that left is a BrokenPipeError.
        """
        out = sys.stdout.buffer
        for line in lines:
            try:
                out.write(line)
            except OSError as error:
                raise _stdout_error(error) from error
        try:
            out.flush()
        except OSError as error:
            raise _stdout_error(error) from error

    def write_text(self, text: str) -> None:
        """Writes text whose lone surrogates stand for bytes; raises what `write_all` does."""
        self.write_all([text.encode("utf-8", "surrogateescape")])


def _stdout_error(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error
    return AttnError(f"standard output: {error.strerror or error}")


def one_field(text: str) -> str:
    r"""A model's text as one field of one line: tabs and line ends become spaces."""
    return text.replace("\t", " ").replace("\n", " ").replace("\r", " ")


def passed_through(text: str) -> str:
    r"""A column behind the results: only a text from JSON can hold a tab or a line end."""
    return text.replace("\t", " ").replace("\n", " ")
