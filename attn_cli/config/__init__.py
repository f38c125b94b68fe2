"""Options as frozen dataclasses: one field, one default, one check, for flags, TOML and JSON.

A field made by `option()` carries its help, choices and bounds; `config.command` bundles groups of
them into what a command is asked for, `cli.options` turns them into flags, and `from_dict` rebuilds
a saved section strictly: an unknown key, a wrong type or a value out of bounds is an error that
says what to do. Standard library only.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import Field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from attn_cli.errors import DataError, NotThereError, UsageError
from attn_cli.files import read_bounded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Option = Field[Any]  # a field that `option()` made
NO_NAME = "an empty name, as that of a shell variable that is not set"


class Kind(NamedTuple):
    """The type of an option: of one value, whether None is allowed, whether it is a list."""

    plain: type
    optional: bool
    many: bool


def option(
    default: object,
    help: str,  # noqa: A002 - the word Typer and argparse use
    *,
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    flag: str | None = None,
    show: str | None = None,
    rare: bool = False,
    place: str = "",
) -> Any:
    """Declares one option as a dataclass field.

    Args:
        default: the one default; None means "chosen at run time", which `show` explains;
            `MISSING` makes the option a required one.
        help: one sentence for `--help`.
        choices: the allowed words of a string option.
        low: the smallest allowed number.
        high: the largest allowed number.
        flag: the spelling on the command line where it is not `--field-name`.
        show: what `--help` shows as the default of an option whose default is None.
        rare: whether `--help` leaves it to `--help-all`.
        place: what a text names in the file system: "FILE", "DIR" or "FILE|DIR".
    """
    metadata = {
        "help": help,
        "choices": tuple(choices),
        "low": low,
        "high": high,
        "flag": flag,
        "show": show,
        "rare": rare,
        "place": place,
    }
    return dataclasses.field(default=default, metadata=metadata)


def with_default(cls: type, name: str, default: object, **changes: object) -> Any:
    """An option of `cls` with another default, and what else `changes` says of it."""
    (field,) = (field for field in dataclasses.fields(cls) if field.name == name)
    return dataclasses.field(default=default, metadata={**field.metadata, **changes})


def said_default(default: object) -> str:
    """A default as `--help` says it; nothing for an option that must be given, or has none."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if default is dataclasses.MISSING or default in (None, ()):
        return ""
    return str(default)


def long_flags(field: Option) -> list[str]:
    """The long flags of an option, those that switch it off left out: `--mask`, `--mask-rate`."""
    spelt = field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
    return [part for part in spelt.split("/")[0].split(",") if part.startswith("--")]


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean X?)` for the closest of `names`, or nothing if none is close."""
    close = difflib.get_close_matches(name[:80], list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def shown(value: object, limit: int = 80) -> str:
    """A value as a message shows it: on one line, and short, however long it is."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def listed(problems: Sequence[str], limit: int = 10) -> str:
    """Problems in one line, the first few of them."""
    more = len(problems) - limit
    return "; ".join(problems[:limit]) + (f"; and {more:,} more" if more > 0 else "")


def unknown_names(keys: Iterable[str], known: Iterable[str]) -> list[str]:
    """What is wrong with keys that are not among the known ones, a message for each."""
    names = set(known)
    strange = [key for key in keys if key not in names]
    hints = [nearest(key, names) for key in strange[:10]] + [""] * max(0, len(strange) - 10)
    return [f"unknown option {shown(key)}{hint}" for key, hint in zip(strange, hints, strict=True)]


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """Looks a class or function up by its configured name.

    Raises:
        UsageError: there is no such name; the message lists what there is.
    """
    if name not in table:
        raise UsageError(
            f"unknown {what} {name!r}{nearest(name, table)}; known: {', '.join(table)}"
        )
    return table[name]


def field_types(cls: type) -> dict[str, Kind]:
    """For each field: its plain type, whether None is allowed, whether it is a list."""
    hints = typing.get_type_hints(cls)
    return {field.name: _plain(hints[field.name]) for field in dataclasses.fields(cls)}


def _plain(hint: Any) -> Kind:
    optional = False
    if isinstance(hint, types.UnionType):
        optional = type(None) in hint.__args__
        (hint,) = (arg for arg in hint.__args__ if arg is not type(None))
    if typing.get_origin(hint) is tuple:
        return Kind(typing.get_args(hint)[0], optional, True)
    return Kind(hint, optional, False)


def to_dict(settings: DataclassInstance) -> dict[str, Any]:
    """A settings dataclass as a JSON-ready dictionary (tuples as lists)."""
    return {
        field.name: list(value) if isinstance(value, tuple) else value
        for field in dataclasses.fields(settings)
        for value in [getattr(settings, field.name)]
    }


def flags(*kinds: type) -> frozenset[str]:
    """The flags of some groups, the first of each option."""
    return frozenset(long_flags(field)[0] for kind in kinds for field in dataclasses.fields(kind))


def changed(*settings: DataclassInstance, among: Container[str] | None = None) -> list[str]:
    """The options of some groups that differ from their declared defaults, as flags.

    Args:
        settings: instances of groups.
        among: the flags that are looked at; None: all of them.
    """
    found = [
        long_flags(field)[0]
        for group in settings
        for field in dataclasses.fields(group)
        if getattr(group, field.name) != field.default
    ]
    return [flag for flag in found if among is None or flag in among]


def refuse_unread(what: str, *settings: DataclassInstance, but: Container[str] = ()) -> None:
    """Raises UsageError if options that `what` does not read were given.

    Args:
        what: what does not read them, in words.
        settings: instances of the groups that it does not read.
        but: flags of those groups that it does read.
    """
    if unread := [flag for flag in changed(*settings) if flag not in but]:
        raise UsageError(f"{what} does not read {', '.join(unread)}")


def from_dict(cls: type[T], values: Mapping[str, object], where: str, *, typed: bool = False) -> T:
    """Rebuilds a settings dataclass strictly; missing keys take their defaults.

    Args:
        cls: a dataclass whose fields were declared by `option()`.
        values: plain values, as JSON or TOML gives them.
        where: the file named in the message.
        typed: whether the values stood on the command line: then messages name flags, and no file.

    Raises:
        DataError: unknown keys, wrong types, values out of bounds: all of them in one message.
    """
    if not isinstance(values, Mapping):
        raise DataError(f"{where}: a table of options is needed, not {type(values).__name__}")
    fields = field_types(cls)
    problems = unknown_names(values, fields)
    problems += [
        f"{key} is missing" for key in fields if key in required_names(cls) and key not in values
    ]
    clean: dict[str, Any] = {}
    options = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in fields:
        if key in values:
            said = long_flags(options[key])[0] if typed else key
            clean[key], problem = checked(said, values[key], fields[key], options[key].metadata)
            problems += [problem] if problem else []
    begin = "" if typed else f"{where}: "
    if problems:
        raise DataError(f"{begin}{listed(problems)}")
    try:
        return cls(**clean)
    except ValueError as error:
        raise DataError(f"{begin}{error}") from error


def required_names(cls: type) -> set[str]:
    """The options that must be given."""
    return {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}


def checked(
    key: str, value: object, kind: Kind, meta: Mapping[str, Any]
) -> tuple[object, str | None]:
    """The value in its field's type, and what is wrong with it (or None)."""
    plain = kind.plain
    if value is None and kind.optional:
        return None, None
    if kind.many:
        if not isinstance(value, list | tuple):
            return value, f"{key}: a list is needed, not {shown(value)}"
        pairs = [checked(key, item, Kind(plain, False, False), meta) for item in value]
        return tuple(item for item, _ in pairs), next((p for _, p in pairs if p), None)
    if plain is float and type(value) is int and abs(value) < 1 << 53:
        value = float(value)
    if type(value) is not plain:
        return value, f"{key}: {_noun(plain)} is needed, not {shown(value)}"
    if value == "" and set(meta.get("place", "").split("|")) & {"FILE", "DIR"}:
        return value, f"{key}: {NO_NAME}"
    if meta.get("choices") and value not in meta["choices"]:
        known = ", ".join(meta["choices"])
        return (
            value,
            f"{key}: {shown(value)} is not one of {known}{nearest(str(value), meta['choices'])}",
        )
    return value, _bounds_problem(key, value, meta)


def _bounds_problem(key: str, value: object, meta: Mapping[str, Any]) -> str | None:
    low, high = meta.get("low"), meta.get("high")
    if not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return f"{key}: {value} is not a finite number"
    if low is not None and value < low:
        return f"{key}: {shown(value)} is below {low}"
    if high is not None and value > high:
        return f"{key}: {shown(value)} is above {high}"
    return None


def _noun(plain: type) -> str:
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[plain]


def load_toml(path: str | None) -> dict[str, object]:
    """The options of a TOML file; none without a path.

    Raises:
        NotThereError: there is no such file.
        DataError: the file can't be read, is larger than 64 KiB, has lines longer than 1,024
            characters (the parser's time grows with the square of a dotted key), or is not TOML.
    """
    if path is None:
        return {}
    if not Path(path).exists():
        raise NotThereError(f"--config {path}: no such file")
    text = _small_text(Path(path), 1 << 16)
    if any(len(line) > 1024 for line in text.split("\n")):
        raise DataError(f"{path}: a line of more than 1,024 characters; this is no configuration")
    import tomllib  # only where a file is named: it costs what a hundred options do

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: not TOML: {error}") from error
    except RecursionError as error:
        raise DataError(f"{path}: nested too deeply") from error


def load_json(path: Path) -> dict[str, Any]:
    """The object in a small JSON file.

    Raises:
        DataError: the file can't be read, is larger than 1 MiB, or is not a JSON object.
    """
    try:
        value = json.loads(_small_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: a JSON object is needed")
    return value


def _small_text(path: Path, limit: int = 1 << 20) -> str:
    too_large = f"larger than {limit >> 10} KiB; this is not a configuration file"
    raw = read_bounded(path, limit, too_large)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start + 1}") from error


def parse_duration(text: str) -> float:
    """Seconds in `90`, `90s`, `30m`, `1.5h` or `2d`.

    Raises:
        ValueError: the text is none of these.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{text!r} is no duration; write 90s, 30m or 2h")
    return seconds
