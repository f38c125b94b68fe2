"""How a model was made to write: the defaults of `decode` that stand in its directory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace

from attn_cli.config import from_dict, long_flags, shown, with_default
from attn_cli.config.decoding import SearchOptions

# Options that ask for a search with a beam, in which nothing is drawn.
_OF_BEAMS = frozenset(
    {"greedy", "beam", "stopping", "diversity", "diversity_groups", "constraints"}
)
_OF_DRAWING = ("temperature", "top_k", "top_p")


@dataclass(frozen=True, kw_only=True)
class GenerationDefaults:
    """What a foreign model's files say of the search; None: nothing.

    Kept as `generation` among the options of a config.json.
    """

    beam: int | None = with_default(SearchOptions, "beam", None)
    stopping: str | None = with_default(SearchOptions, "stopping", None)
    length_penalty: float | None = with_default(SearchOptions, "length_penalty", None)
    sample: bool | None = with_default(SearchOptions, "sample", None)
    temperature: float | None = with_default(SearchOptions, "temperature", None)
    top_k: int | None = with_default(SearchOptions, "top_k", None)
    top_p: float | None = with_default(SearchOptions, "top_p", None, low=1e-6)
    max_len: int | None = with_default(SearchOptions, "max_len", None)
    min_len: int | None = with_default(SearchOptions, "min_len", None)
    no_repeat_ngram: int | None = with_default(SearchOptions, "no_repeat_ngram", None)

    @classmethod
    def read(cls, values: object, where: str) -> GenerationDefaults:
        """Those in a config.json; none where it has none.

        Raises:
            DataError: they are not what they should be.
        """
        return from_dict(cls, values if isinstance(values, Mapping) else {}, where)

    @property
    def said(self) -> dict[str, object]:
        """Option -> value, of those that are said."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def fill(self, search: SearchOptions, given: Collection[str]) -> tuple[SearchOptions, str]:
        """The options of a search, what was not given decided; what was decided, as flags.

        What does not go with the options that were given is left out.

        Args:
            search: the options.
            given: the names of those that were given.
        """
        own = {name: value for name, value in self.said.items() if name not in given}
        if _OF_BEAMS & set(given) and "sample" not in given:
            own.pop("sample", None)
        draws = search.sample if "sample" in given else own.get("sample", False)
        out = set() if draws else set(_OF_DRAWING)
        if draws or search.greedy:
            out |= {"beam", "stopping"}
        if search.greedy or search.n_best > int(str(own.get("beam", search.n_best))):
            out.add("beam")
        if "max_len" in given and search.max_len is not None and self.min_len is not None:
            out |= {"min_len"} if self.min_len > search.max_len else set()
        if "min_len" in given and self.max_len is not None:
            out |= {"max_len"} if search.min_len > self.max_len else set()
        own = {name: value for name, value in own.items() if name not in out}
        return replace(search, **own), as_flags(own)  # type: ignore[arg-type]


def as_flags(options: Mapping[str, object]) -> str:
    """Options of a search as they are typed."""
    known = {field.name: long_flags(field)[0] for field in fields(SearchOptions)}
    return " ".join(
        known[name] if value is True else f"{known[name]} {shown(value).strip(chr(39))}"
        for name, value in options.items()
    )
