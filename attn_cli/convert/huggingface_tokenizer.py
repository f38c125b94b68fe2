"""Tokenizer files of a Hugging Face directory as one `tokenizer.json`, and back.

A BERT vocabulary alone does not say whether text is lower-cased: `tokenizer_config.json` does, and
its word counts more than that of a `tokenizer.json`, as in transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from attn_cli.config import load_json, shown
from attn_cli.errors import DataError
from attn_cli.files import inside, read_bounded, write_atomically
from attn_cli.tokenizers.byte_level_files import (
    end_as_padding,
    has_byte_level_files,
    json_object,
    read_byte_level_files,
)
from attn_cli.tokenizers.huggingface_tokenizer import (
    JsonTokenizer,
    WordPieceTokenizer,
    read_vocabulary,
    wordpiece_engine,
)
from attn_cli.tokenizers.tokenizer import SIZE_LIMIT, TOO_LARGE, Tokenizer

JSON, VOCABULARY, SETTINGS = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
# tokenizer_config.json -> the field of a BertNormalizer.
_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_SPECIAL_TOKENS = {"bert": ("pad", "unk", "cls", "sep", "mask"), "gpt": ("bos", "eos", "pad")}
_BERT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def read_tokenizer(folder: Path, arch: str, say: Callable[[str], None]) -> Tokenizer | None:
    """The directory's tokenizer; None if it has none.

    Args:
        folder: the Hugging Face directory.
        arch: "bert" or "gpt".
        say: is told of what the files leave open.

    Raises:
        DataError: a file can't be used.
    """
    settings = load_json(inside(folder, SETTINGS)) if (folder / SETTINGS).exists() else {}
    if (folder / JSON).exists():
        return _from_json(inside(folder, JSON), arch, settings)
    if arch == "bert" and (folder / VOCABULARY).exists():
        return _from_vocabulary(inside(folder, VOCABULARY), settings, say)
    if has_byte_level_files(folder):
        return read_byte_level_files(folder)
    return None


def _flag(settings: Mapping[str, object], key: str, default: bool | None) -> bool | None:
    value = settings.get(key, default)
    if value is not None and not isinstance(value, bool):
        raise DataError(f"{SETTINGS}: {key}: true or false is needed, not {shown(value)}")
    return value


def _from_json(file: Path, arch: str, settings: Mapping[str, object]) -> Tokenizer:
    raw = _bytes(file)
    values = json_object(raw, file)
    if arch == "gpt":
        values["padding"] = values.get("padding") or end_as_padding(JsonTokenizer(raw, str(file)))
        return JsonTokenizer(json.dumps(values, ensure_ascii=False).encode("utf-8"), str(file))
    normalizer = values.get("normalizer")
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        asked = {
            field: _flag(settings, key, None)
            for key, field in _NORMALIZER.items()
            if key in settings
        }
        if any(normalizer.get(field) != value for field, value in asked.items()):
            normalizer |= asked
            raw = json.dumps(values, ensure_ascii=False).encode("utf-8")
    return JsonTokenizer(raw, str(file))


def _from_vocabulary(
    file: Path, settings: Mapping[str, object], say: Callable[[str], None]
) -> Tokenizer:
    vocabulary, remarks = read_vocabulary(_bytes(file), str(file))
    for remark in remarks:
        say(remark)
    lowercase = _flag(settings, "do_lower_case", True)
    upper = any(piece != piece.lower() for piece in vocabulary if not piece.startswith("["))
    if upper and "do_lower_case" not in settings:
        say(
            f"{file}: has upper-case pieces, yet no {SETTINGS} says do_lower_case: text will be "
            "lower-cased, as transformers does"
        )
    engine = wordpiece_engine(
        vocabulary,
        bool(lowercase),
        strip_accents=_flag(settings, "strip_accents", None),
        chinese=bool(_flag(settings, "tokenize_chinese_chars", True)),
    )
    engine.add_special_tokens([piece for piece in _BERT_SPECIAL_TOKENS if piece in vocabulary])
    return JsonTokenizer(engine.to_str().encode("utf-8"), JSON)


def _bytes(file: Path) -> bytes:
    return read_bounded(file, SIZE_LIMIT, TOO_LARGE)


def write_tokenizer(
    folder: Path, tokenizer: Tokenizer, arch: str, max_len: int, say: Callable[[str], None]
) -> None:
    """Writes a tokenizer so that transformers' AutoTokenizer loads and frames as the model needs.

    A SentencePiece model, which no class of theirs reads for these architectures, is copied as it
    is, and that is said.
    """
    if isinstance(tokenizer, WordPieceTokenizer):
        vocabulary = {piece: index for index, piece in enumerate(tokenizer.vocabulary) if piece}
        engine = wordpiece_engine(vocabulary, tokenizer.lowercase)
        engine.add_special_tokens([piece for piece in _BERT_SPECIAL_TOKENS if piece in vocabulary])
        write_atomically(inside(folder, VOCABULARY), tokenizer.to_bytes())
        values = json.loads(engine.to_str())
    elif isinstance(tokenizer, JsonTokenizer):
        values = json.loads(tokenizer.to_bytes())
    else:
        write_atomically(inside(folder, tokenizer.file_name), tokenizer.to_bytes())
        say(
            f"{tokenizer.file_name}: transformers has no {arch} tokenizer for SentencePiece models;"
            " it is copied as it is"
        )
        return
    values |= {"truncation": None, "padding": None}
    if arch == "bert" and not values.get("post_processor"):
        values["post_processor"] = _template(tokenizer)
    text = json.dumps(values, ensure_ascii=False)
    write_atomically(inside(folder, JSON), text.encode("utf-8"))
    settings = _settings(values, tokenizer, arch, max_len)
    write_atomically(inside(folder, SETTINGS), json.dumps(settings, indent=2).encode() + b"\n")


def _settings(
    values: Mapping[str, object], tokenizer: Tokenizer, arch: str, max_len: int
) -> dict[str, object]:
    normalizer = values.get("normalizer")
    normalizer = normalizer if isinstance(normalizer, dict) else {}
    is_bert = arch == "bert" and normalizer.get("type") == "BertNormalizer"
    settings: dict[str, object] = {
        "tokenizer_class": "BertTokenizer" if is_bert else "PreTrainedTokenizerFast"
    }
    if is_bert:
        settings |= {key: normalizer.get(field) for key, field in _NORMALIZER.items()}
    settings |= {
        f"{name}_token": tokenizer.vocabulary[index]
        for name in _SPECIAL_TOKENS["bert" if arch == "bert" else "gpt"]
        if (index := tokenizer.special_ids[name]) >= 0
    }
    return {**settings, "model_max_length": max_len}


def _template(tokenizer: Tokenizer) -> dict[str, object]:
    """⟨CLS⟩ A ⟨SEP⟩ B ⟨SEP⟩ as a post-processor of the `tokenizers` library."""
    cls, sep = (tokenizer.vocabulary[index] for index in (tokenizer.cls_id, tokenizer.sep_id))

    def special(piece: str, segment: int) -> dict[str, object]:
        return {"SpecialToken": {"id": piece, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, object]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [special(cls, 0), text("A", 0), special(sep, 0)]
    ids = {cls: tokenizer.cls_id, sep: tokenizer.sep_id}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), special(sep, 1)],
        "special_tokens": {
            piece: {"id": piece, "ids": [index], "tokens": [piece]} for piece, index in ids.items()
        },
    }
