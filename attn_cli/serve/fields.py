"""What a request says, each value checked where it is asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from attn_cli.config import nearest, shown
from attn_cli.serve.refusal import Refusal, bad_request

FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 1024


class Fields:
    """The fields of a JSON object, or of a form, whose values are all texts.

    Args:
        values: the fields.
        is_form: whether they are a form's; each is a list of texts.
    """

    def __init__(self, values: Mapping[str, object], *, is_form: bool = False) -> None:
        self._values = values
        self._is_form = is_form

    @classmethod
    def parse(cls, body: bytes, content_type: str) -> Fields:
        """Reads a body.

        Raises:
            Refusal: it is neither a JSON object nor a form.
        """
        kind = content_type.split(";")[0].strip().lower()
        if kind == FORM:
            try:
                form = parse_qs(
                    body.decode("utf-8"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=_MOST_FIELDS,
                )
            except ValueError as error:
                raise bad_request(f"the body is no form in UTF-8: {error}"[:300]) from error
            return cls(form, is_form=True)
        if kind.startswith("multipart/"):
            raise Refusal(415, f"send JSON, or a form as {FORM}: {kind} is not read")
        try:
            values = json.loads(body, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise bad_request(f"the body is not JSON: {error}"[:300]) from error
        if not isinstance(values, dict):
            raise bad_request(f"the body is to be a JSON object, not {shown(values)}")
        return cls(values)

    def value(self, name: str) -> object:
        """A value of JSON as it is; None where there is none. A form's only text, or its last."""
        value = self._values.get(name)
        return value[-1] if self._is_form and isinstance(value, list) else value

    def text(self, name: str, default: str | None = None) -> str:
        """A text.

        Raises:
            Refusal: it is none, or missing without a default.
        """
        value = self.value(name)
        if value is None and default is not None:
            return default
        if value is None:
            raise bad_request(f"{name} is missing")
        if not isinstance(value, str):
            raise bad_request(f"{name}: a text is needed, not {shown(value)}")
        return written(name, value)

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of some words.

        Raises:
            Refusal: it is none of them.
        """
        value = self.text(name, default)
        if value not in choices:
            known = ", ".join(choices)
            raise bad_request(
                f"{name}: {shown(value)} is not one of {known}{nearest(value, choices)}"
            )
        return value

    def texts(self, name: str) -> tuple[list[str], bool]:
        """A text or a list of them, and whether it was a list.

        Raises:
            Refusal: it is none, or missing.
        """
        value = self._values.get(name)
        if self._is_form and isinstance(value, list) and len(value) == 1:
            (value,) = value
        if not isinstance(value, list):
            return [self.text(name)], False
        for each in value:
            if not isinstance(each, str):
                raise bad_request(
                    f"{name}: a text or a list of texts is needed, not {shown(each)} in a list"
                )
        return [written(name, each) for each in value], True

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number.

        Raises:
            Refusal: it is none, or out of bounds.
        """
        value = self._number(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int):
            raise bad_request(f"{name}: a whole number is needed, not {shown(value)}")
        if not low <= value <= high:
            raise bad_request(f"{name}: {shown(value)} is not from {low:,} to {high:,}")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number; None where there is none.

        Raises:
            Refusal: it is no number, or out of bounds.
        """
        value = self._number(name)
        if value is not None and not low <= value <= high:
            raise bad_request(f"{name}: {shown(value)} is not from {low:g} to {high:g}")
        return None if value is None else float(value)

    def _number(self, name: str) -> float | int | None:
        value = self.value(name)
        if self._is_form and isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise bad_request(f"{name}: {shown(value)} is no number") from None
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise bad_request(f"{name}: a number is needed, not {shown(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise bad_request(f"{name}: {value} is no finite number")
        return value

    def flag(self, name: str) -> bool:
        """Whether something is wanted; not unless it is said.

        Raises:
            Refusal: neither true nor false.
        """
        value = self.value(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise bad_request(f"{name}: true or false is needed, not {shown(value)}")
        return value

    def refuse(self, usual: Mapping[str, Sequence[object]]) -> None:
        """Refuses what would change the answer and is not done here.

        Args:
            usual: field -> values of it that ask for nothing.

        Raises:
            Refusal: another value was sent.
        """
        for name, values in usual.items():
            value = self.value(name)
            if value is not None and not any(value == each for each in values):
                raise bad_request(f"{name}: {shown(value)} is not done here; leave it out")


def written(name: str, text: str) -> str:
    """A text that can be written as UTF-8.

    Raises:
        Refusal: it can't.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise bad_request(f"{name}: half of a surrogate pair in its text") from None
    return text


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number of JSON")
