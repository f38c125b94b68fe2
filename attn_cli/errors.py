"""What can go wrong in a way that a user can mend; each kind has its exit code.

The library raises, the command line converts: `attn_cli.cli.main` prints `attn: MESSAGE` on
stderr and exits with the code. Anything else is a bug and shows its traceback.
"""


class AttnError(Exception):
    """The work failed: exit 1. The message names the file, the line, the cause and the remedy."""

    exit_code = 1


class UsageError(AttnError):
    """The command was used wrongly (unknown option, impossible combination): exit 2."""

    exit_code = 2


class DataError(AttnError):
    """Input data was refused (bad bytes, wrong columns, a foreign model directory): exit 3."""

    exit_code = 3


class NotThereError(DataError):
    """A file or model that a user named is not there, or is of another kind: exit 2.

    To whoever reads data it is a refusal like others; the exit status tells a wrong name from wrong
    content.
    """

    exit_code = 2


class NoSuchFileError(DataError):
    """A line names a file that is not there, as a header does: exit 3."""


class InterruptedTrainingError(AttnError):
    """A signal stopped a training after its state was saved: exit 128 + signal number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class EndedElsewhereError(AttnError):
    """Another process of the same training failed, and says why; this one ends without a word."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code
