"""What a command works on: columns of TSV, or keys of JSON lines, told apart at the first line.

Or what a program gives: the columns of `lines.items`.

`--columns premise,hypothesis,label` names columns of a header, or keys where the lines are JSON
objects, as GLUE, SuperGLUE and Russian SuperGLUE are published. `passage.text` reaches into an
object, `word+sentence` joins two texts by a space. The texts of a list are joined by spaces too;
`target.0` is the first of them alone, and `target.each` makes each of them a column: the references
of a summary. Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from attn_cli.config import shown
from attn_cli.errors import DataError, UsageError
from attn_cli.lines.columns import SENTENCE_MARK, Columns
from attn_cli.lines.items import ItemLine
from attn_cli.lines.reading import Line
from attn_cli.wording import plural

_ENDINGS = (".jsonl", ".jsonl.gz")
_EACH = ".each"


def begin(columns: Columns, line: Line, name: str) -> tuple[Columns, bool]:
    """What is picked from a stream's lines, given its first one; whether that is a header.

    Args:
        columns: as `--columns` says.
        line: the first line.
        name: what messages call the stream.

    Raises:
        DataError: a column is not in the header.
        UsageError: JSON lines without a word about keys.
    """
    if isinstance(line, ItemLine):
        return Given(columns.indices, (), columns.spread, columns.apart), False
    if not columns.has_header:
        if name.endswith(_ENDINGS):
            raise UsageError(f"{name}: of JSON lines --columns picks keys, such as text,label")
        return columns, False
    if name.endswith(_ENDINGS) or line.text.lstrip().startswith("{"):
        return Keys((), (), columns.spread, columns.apart, columns.names), False
    return dataclasses.replace(columns.read_header(line, name), spread=columns.spread), True


@dataclass(frozen=True)
class Keys(Columns):
    """Which values of a JSON object a command works on, and in which order.

    Attributes:
        keys: names, as `--columns` has them.
    """

    keys: tuple[str, ...] = ()

    def pick(self, text: str) -> tuple[list[str], list[str]] | str:
        """The picked values of a line as texts; or says why it can't be used."""
        try:
            entry = json.loads(
                text,
                parse_int=str,
                parse_float=str,
                parse_constant=str,
                object_pairs_hook=_each_once,
            )
        except DataError as error:
            return str(error)
        except (ValueError, RecursionError) as error:
            return f"no JSON: {error}"[:160]
        if not isinstance(entry, dict):
            return "no JSON object"
        fields: list[str] = []
        end = SENTENCE_MARK if self.apart else ""
        try:
            for key in self.keys:
                fields += self._columns(entry, key, end)
            "".join(fields).encode("utf-8")
        except UnicodeEncodeError:
            return "half of a surrogate pair in its text"
        except DataError as error:
            return str(error)
        return fields, []

    def others(self, text: str, count: int) -> list[str]:
        """Nothing passes through beside what is picked by key."""
        return []

    def _columns(self, entry: dict[str, object], key: str, end: str) -> list[str]:
        """What one of the keys gives: one column, or as many as a list has texts."""
        if key.endswith(_EACH) and key not in entry:
            name = key.removesuffix(_EACH)
            if not (texts := _texts(entry, name, "")):
                raise DataError(f"key {name!r} holds an empty list")
            return texts
        parts = [_texts(entry, name, end) for name in key.split("+")]
        if self.spread and len(parts) == 1:
            return parts[0]
        return [" ".join(text for texts in parts for text in texts)]


@dataclass(frozen=True)
class Given(Columns):
    """The columns of items, whatever they hold: as many as a command works on."""

    def pick(self, text: str) -> tuple[list[str], list[str]] | str:
        """The texts of an item; or says why it can't be used."""
        fields: list[str] = json.loads(text)
        wanted = len(self.indices)
        if wanted and len(fields) != wanted:
            return f"{plural(len(fields), 'text')} instead of {wanted}"
        return fields, []

    def others(self, text: str, count: int) -> list[str]:
        """Nothing passes through: whoever gave an item has it."""
        return []


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON, whose parser would take the last of equal keys."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"key {shown(twice)} stands in an object twice")
    return entry


def _texts(entry: dict[str, object], name: str, end: str) -> list[str]:
    """The texts under a key, such as `passage.text`: one, or those of a list, `end` behind each."""
    if name in entry:  # a key with a dot in it
        return _flat(entry[name], name, end)
    value: object = entry
    for part in name.split("."):
        if isinstance(value, list) and part.isascii() and part.isdigit():
            # Compared as text: int() refuses what has thousands of digits.
            value = {str(number): item for number, item in enumerate(value)}
            if part not in value:
                cause = f"no key {shown(name)}: the list holds {plural(len(value), 'item')}"
                raise DataError(cause)
        if not isinstance(value, dict) or part not in value:
            known = ", ".join(value if isinstance(value, dict) else entry)
            raise DataError(f"no key {name!r} among {known}"[:300])
        value = value[part]
    return _flat(value, name, end)


def _flat(value: object, name: str, end: str) -> list[str]:
    if isinstance(value, list):
        if any(isinstance(item, list) for item in value):
            raise DataError(f"key {name!r} holds lists in a list, not texts")
        return [text + end for item in value for text in _flat(item, name, "")]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if not isinstance(value, str):  # numbers were left as they are written
        what = "an object" if isinstance(value, dict) else "null"
        raise DataError(f"key {name!r} holds {what}, not a text, number or list of texts")
    return [value]


def saved(columns: Columns) -> object:
    """What is picked, as JSON."""
    if isinstance(columns, Keys):
        return {"keys": list(columns.keys), "spread": columns.spread, "apart": columns.apart}
    return list(columns.indices)


def restored(values: object) -> Columns:
    """What `saved` wrote."""
    if isinstance(values, dict):
        return Keys((), (), values["spread"], values.get("apart", False), tuple(values["keys"]))
    assert isinstance(values, list)
    return Columns(tuple(values))
