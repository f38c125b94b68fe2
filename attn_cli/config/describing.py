"""Options of `info`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from attn_cli.config import option, with_default
from attn_cli.config.command import Command, group

_LANGUAGE = re.compile(r"[a-z]{2,12}([-_][A-Za-z0-9]{1,8})*")  # BCP 47, or the hub's own words
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """How a model directory is described.

    Raises:
        ValueError: options that exclude or need each other, or values that are none.
    """

    json: bool = option(False, "One JSON object with all of it, every validation too.")
    card: bool = option(False, "A model card: Markdown with the header that Hugging Face reads.")
    output: str | None = option(
        None, "File to write instead of standard output.", flag="-o,--output", place="FILE"
    )
    plot: str | None = option(
        None, "Draw the learning curve, too, as .png, .svg or .pdf.", place="FILE"
    )


@dataclass(frozen=True, kw_only=True)
class CardOptions:
    """What a card says that no data tells: a training may be given it, and its model keeps it.

    Raises:
        ValueError: a value that is none.
    """

    language: str | None = option(
        None, "For its card: codes of the model's languages, joined by commas: en,de.", rare=True
    )
    license: str | None = option(
        None, "For its card: the model's license: mit, apache-2.0, cc-by-4.0.", rare=True
    )

    def __post_init__(self) -> None:
        for code in self.language.split(",") if self.language else ():
            if not _LANGUAGE.fullmatch(code):
                raise ValueError(f"--language: {code[:40]!r} is no code of a language, as en is")
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise ValueError(
                f"--license: {self.license[:40]!r} is no identifier of a license, as mit is"
            )


@dataclass(frozen=True, kw_only=True)
class WrittenCardOptions(CardOptions):
    """What the card that is written says.

    Raises:
        ValueError: a value that is none.
    """

    name: str | None = option(None, "What the model is called.", show="the directory's name")
    language: str | None = with_default(
        CardOptions,
        "language",
        None,
        help="Codes of its languages, joined by commas: en,de.",
        show="as its training was told",
        rare=False,
    )
    license: str | None = with_default(
        CardOptions,
        "license",
        None,
        help="Its license: mit, apache-2.0, cc-by-4.0.",
        show="as its training was told",
        rare=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and (not self.name.strip() or len(self.name) > 200):
            raise ValueError("--name: a name of 1 to 200 characters is needed")


@dataclass(frozen=True, kw_only=True)
class InfoCommand(Command):
    """All options of `attn info`."""

    name: ClassVar[str] = "info"

    info: InfoOptions = group(InfoOptions, "Options")
    card: WrittenCardOptions = group(WrittenCardOptions, "With --card")
