"""What stands beside the vocabulary of a Hugging Face directory: class, options, added tokens.

tokenizer_config.json counts, and special_tokens_map.json and added_tokens.json where it is an older
one, as in transformers. An option that would change the tokens, and that ours do not have, is
refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from attn_cli.config import load_json, shown
from attn_cli.errors import DataError
from attn_cli.files import inside

CONFIG, SETTINGS, GENERATION = "config.json", "tokenizer_config.json", "generation_config.json"
MODULES = "modules.json"  # of sentence-transformers: a model's parts, each in a folder of its own
_MAP, _ADDED = "special_tokens_map.json", "added_tokens.json"
ROLES = ("pad", "unk", "bos", "eos", "mask", "cls", "sep")
# Classes whose vocab.txt is BERT's, and whose vocab.json and merges.txt are GPT-2's.
_BERT_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer")
_GPT_CLASSES = ("GPT2Tokenizer", "RobertaTokenizer")
_ANY_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")
_ANALYSERS = ("word_tokenizer_type", "subword_tokenizer_type", "mecab_kwargs", "sudachi_kwargs")
# Option -> the values with which tokens are cut as ours cut them.
_FIXED: dict[str, tuple[object, ...]] = {
    "do_basic_tokenize": (True,),
    "do_word_tokenize": (True,),
    "do_subword_tokenize": (True,),
    "never_split": ([],),
    "clean_text": (True,),
    "wordpieces_prefix": ("##",),
    "split_special_tokens": (False,),
}


@dataclass(frozen=True)
class AddedToken:
    """A token beside those of the model.

    Attributes:
        content: its text.
        index: its id; None: that of the vocabulary, or the next free one.
        flags: how it is found in texts, as the `tokenizers` library names it.
        source: the file that names it.
    """

    content: str
    index: int | None
    flags: Mapping[str, bool]
    source: str


class TokenizerSettings:
    """The settings of a directory's tokenizer.

    Attributes:
        values: of tokenizer_config.json, and of special_tokens_map.json where that counts.
        config: of config.json.
        kind: the tokenizer's class, without "Fast"; "" where none is named.

    Raises:
        DataError: a file can't be used, or asks for what ours do not do.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self.config = self._read(CONFIG)
        self.values = self._read(SETTINGS)
        named = {
            name: values.get("tokenizer_class")
            for name, values in ((CONFIG, self.config), (SETTINGS, self.values))
        }
        kind = named[SETTINGS] or named[CONFIG]
        self.kind = str(kind).removesuffix("Fast") if kind else ""
        self.where = folder / (SETTINGS if named[SETTINGS] or not kind else CONFIG)
        self._check()
        if "added_tokens_decoder" not in self.values:
            older = self._read(_MAP)
            for key, value in older.items():
                if key in self.values and _content(self.values[key]) != _content(value):
                    say(
                        f"{folder / _MAP}: {key} {shown(_content(value))} counts, not "
                        f"{shown(_content(self.values[key]))} of {SETTINGS}"
                    )
            self.values = {**self.values, **older}

    def _read(self, name: str) -> dict[str, object]:
        if not (self._folder / name).exists():
            return {}
        return dict(load_json(inside(self._folder, name)))

    def _check(self) -> None:
        analyser = [key for key in _ANALYSERS if self.values.get(key)]
        if "Japanese" in self.kind or analyser:
            how = ", ".join(f"{key} {shown(self.values[key])}" for key in analyser)
            raise DataError(
                f"{self.where}: tokenizer_class {self.kind or 'BertJapaneseTokenizer'}"
                f"{f' ({how})' if how else ''} cuts Japanese text by a morphological analyser, "
                "which attn does not have: other pieces would reach the model; cut texts into "
                "pieces there, or convert a model with a tokenizer.json"
            )
        if self.values.get("auto_map"):
            raise DataError(
                f"{self._folder / SETTINGS}: auto_map {shown(self.values['auto_map'])} names a "
                "tokenizer program of the model's own, which is not run; convert a model with a "
                "tokenizer.json alone"
            )
        for key, wanted in _FIXED.items():
            if self.values.get(key) is not None and self.values[key] not in wanted:
                raise DataError(
                    f"{self._folder / SETTINGS}: {key} {shown(self.values[key])} is not supported, "
                    f"{wanted[0]!r} alone is"
                )

    def require_class(self, file: str, known: str) -> None:
        """Raises DataError if the class reads `file` in another way than BERT's or GPT-2's does.

        Args:
            file: the vocabulary's name.
            known: "bert" or "gpt".
        """
        classes = (*(_BERT_CLASSES if known == "bert" else _GPT_CLASSES), *_ANY_CLASSES)
        if self.kind and self.kind not in classes:
            raise DataError(
                f"{self.where}: tokenizer_class {shown(self.kind)} is not supported beside {file}, "
                f"{', '.join(classes)} are; AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
                " of transformers writes a tokenizer.json where the class has one"
            )

    @property
    def is_bert(self) -> bool:
        """Whether the class is BERT's, which frames texts in its own way whatever a file says."""
        return self.kind in _BERT_CLASSES

    def flag(self, key: str, default: bool | None) -> bool | None:
        """A setting that is true, false or null.

        Raises:
            DataError: it is something else.
        """
        value = self.values.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise DataError(f"{SETTINGS}: {key}: true or false is needed, not {shown(value)}")
        return value

    def roles(self) -> dict[str, str]:
        """The special tokens that are named: by their role, such as `pad`."""
        found = {role: self.values.get(f"{role}_token") for role in ROLES}
        return {role: _text(value, f"{role}_token") for role, value in found.items() if value}

    def added(self) -> list[AddedToken]:
        """The tokens beside the vocabulary's, those with a role included.

        Raises:
            DataError: they are no tokens.
        """
        return [*self._numbered(), *self._special()]

    def _special(self) -> Iterator[AddedToken]:
        for role in ROLES:
            value = self.values.get(f"{role}_token")
            if value:
                yield AddedToken(
                    _text(value, f"{role}_token"), None, _flags(value, False), SETTINGS
                )
        for key in ("additional_special_tokens", "extra_special_tokens"):
            values = self.values.get(key) or []
            values = list(values.values()) if isinstance(values, dict) else values
            if not isinstance(values, list):
                raise DataError(f"{SETTINGS}: {key}: a list of tokens is needed")
            for value in values:
                yield AddedToken(_text(value, key), None, _flags(value, False), SETTINGS)

    def _numbered(self) -> Iterator[AddedToken]:
        table = self.values.get("added_tokens_decoder")
        if table is not None:
            where = f"{SETTINGS}: added_tokens_decoder"
            if not isinstance(table, dict):
                raise DataError(f"{where}: ids and tokens are needed")
            for key, value in table.items():
                yield AddedToken(
                    _text(value, where), _index(key, where), _flags(value, True), where
                )
            return
        special = {token.content for token in self._special()}
        for content, index in self._read(_ADDED).items():
            flags = _flags(None, content not in special)
            yield AddedToken(content, _index(index, _ADDED), flags, _ADDED)

    def ids(self, role: str) -> tuple[int, str] | None:
        """The id that the model's own settings give a role when it writes text, and the file.

        Raises:
            DataError: it is no id, or there are several.
        """
        key = f"{role}_token_id"
        for name, values in ((GENERATION, self._read(GENERATION)), (CONFIG, self.config)):
            value = values.get(key)
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, list):
                raise DataError(
                    f"{self._folder / name}: {key} {shown(value)}: one alone is supported"
                )
            if value is not None:
                return _index(value, f"{self._folder / name}: {key}"), name
        return None


def _content(value: object) -> object:
    return value.get("content") if isinstance(value, dict) else value


def _text(value: object, where: str) -> str:
    content = _content(value)
    if not isinstance(content, str) or not content:
        raise DataError(f"{where}: {shown(value)} is no token")
    return content


def _index(value: object, where: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise DataError(f"{where}: {shown(value)} is no id of a token")
    return int(text)


def _flags(value: object, normalized: bool) -> dict[str, bool]:
    given = value if isinstance(value, dict) else {}
    flags = {key: bool(given.get(key, False)) for key in ("single_word", "lstrip", "rstrip")}
    return {**flags, "normalized": bool(given.get("normalized", normalized))}
