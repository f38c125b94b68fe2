"""Tokenizer files of a Hugging Face directory as one `tokenizer.json`, and back.

A BERT vocabulary alone does not say whether text is lower-cased: `tokenizer_config.json` does, and
its word counts more than that of a `tokenizer.json`, as in transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attn_cli.config import shown
from attn_cli.convert.huggingface_specials import SETTINGS, TokenizerSettings
from attn_cli.convert.sentencepiece_json import as_tokenizer_json
from attn_cli.errors import DataError
from attn_cli.files import inside, read_bounded, write_atomically
from attn_cli.tokenizers.byte_level_files import (
    end_as_padding,
    has_byte_level_files,
    json_object,
    read_byte_level_files,
)
from attn_cli.tokenizers.huggingface_tokenizer import (
    SPECIAL_IDS,
    JsonTokenizer,
    WordPieceTokenizer,
    read_vocabulary,
    wordpiece_engine,
)
from attn_cli.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from attn_cli.tokenizers.tokenizer import SIZE_LIMIT, TOO_LARGE, Tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

JSON, VOCABULARY = "tokenizer.json", "vocab.txt"
# tokenizer_config.json -> the field of a BertNormalizer.
_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_SPECIAL_TOKENS = {"bert": ("pad", "unk", "cls", "sep", "mask"), "gpt": ("bos", "eos", "pad")}
# Special tokens whose ids a model reads. GPT-2's unknown token is its end, and never occurs.
_ROLES = {
    "bert": ("pad", "unk", "cls", "sep", "mask"),
    "gpt": ("pad", "bos", "eos", "cls", "sep", "mask"),
}
_BERT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def read_tokenizer(folder: Path, arch: str, say: Callable[[str], None]) -> Tokenizer | None:
    """The directory's tokenizer; None if it has none.

    Args:
        folder: the Hugging Face directory.
        arch: "bert" or "gpt".
        say: is told of what the files leave open.

    Raises:
        DataError: a file can't be used, or asks for what our tokenizers do not do.
    """
    settings = TokenizerSettings(folder, say)
    if (folder / JSON).exists():
        file = inside(folder, JSON)
        values = _from_json(file, arch, settings)
    elif (folder / VOCABULARY).exists() and (arch == "bert" or not has_byte_level_files(folder)):
        file = inside(folder, VOCABULARY)
        settings.require_class(VOCABULARY, "bert")
        values = _from_vocabulary(file, settings, say)
    elif has_byte_level_files(folder):
        file = folder / JSON
        settings.require_class("vocab.json", "gpt")
        values = json_object(read_byte_level_files(folder).to_bytes(), file)
    else:
        return None
    _add_tokens(values, settings, str(file), say)
    tokenizer = _with_special_ids(values, settings, arch, str(file), say)
    if arch == "gpt" and not values.get("padding"):
        tokenizer = _json_tokenizer(
            {**_parts(tokenizer), "padding": end_as_padding(tokenizer)}, file
        )
    elif arch == "bert" and not settings.is_bert and (folder / JSON).exists():
        _check_frames(tokenizer, values, str(file), say)
    return tokenizer


def has_one_segment(folder: Path, tokenizer: Tokenizer, say: Callable[[str], None]) -> bool:
    """Whether the directory's tokenizer numbers no segments: each token has that of the first."""
    settings = TokenizerSettings(folder, lambda remark: None)
    names = settings.values.get("model_input_names")
    unasked = isinstance(names, list) and "token_type_ids" not in names
    numbers: list[int] = [1]
    if not settings.is_bert and (folder / JSON).exists():
        numbers = [*_frame(_parts(tokenizer), "", "").type_ids] or numbers
    if unasked or not any(numbers):
        say(
            f"{folder / (SETTINGS if unasked else JSON)}: numbers no segments: the second text of "
            "a pair has the segment vector of the first"
        )
        return True
    return False


def _from_json(file: Path, arch: str, settings: TokenizerSettings) -> dict[str, object]:
    raw = _bytes(file)
    values = json_object(raw, file)
    JsonTokenizer(raw, str(file))  # what is no such file is refused before it is looked into
    spaced = settings.flag("add_prefix_space", None)
    if spaced is not None:
        _set_prefix_space(values.get("pre_tokenizer"), spaced)
    normalizer = values.get("normalizer")
    if (
        arch == "bert"
        and isinstance(normalizer, dict)
        and normalizer.get("type") == "BertNormalizer"
    ):
        normalizer |= {
            field: settings.flag(key, None)
            for key, field in _NORMALIZER.items()
            if key in settings.values
        }
    return values


def _set_prefix_space(pre_tokenizer: object, spaced: bool) -> None:
    """Sets whether a text's first word gets a space, in whatever part decides that."""
    if not isinstance(pre_tokenizer, dict):
        return
    if pre_tokenizer.get("type") == "ByteLevel":
        pre_tokenizer["add_prefix_space"] = spaced
    parts = pre_tokenizer.get("pretokenizers")
    for part in parts if isinstance(parts, list) else []:
        _set_prefix_space(part, spaced)


def _from_vocabulary(
    file: Path, settings: TokenizerSettings, say: Callable[[str], None]
) -> dict[str, object]:
    roles = settings.roles()
    unknown = roles.get("unk", "[UNK]")
    vocabulary, remarks = read_vocabulary(_bytes(file), str(file), unknown)
    for remark in remarks:
        say(remark)
    lowercase = settings.flag("do_lower_case", True)
    upper = any(piece != piece.lower() for piece in vocabulary if not piece.startswith("["))
    if upper and "do_lower_case" not in settings.values:
        say(
            f"{file}: has upper-case pieces, yet no {SETTINGS} says do_lower_case: text will be "
            "lower-cased, as transformers does"
        )
    engine = wordpiece_engine(
        vocabulary,
        bool(lowercase),
        strip_accents=settings.flag("strip_accents", None),
        chinese=bool(settings.flag("tokenize_chinese_chars", True)),
        unknown=unknown,
    )
    usual = dict(zip(("pad", "unk", "cls", "sep", "mask"), _BERT_SPECIAL_TOKENS, strict=True))
    special = {**usual, **{role: roles[role] for role in usual if role in roles}}.values()
    engine.add_special_tokens([piece for piece in special if piece in vocabulary])
    return json_object(engine.to_str().encode("utf-8"), file)


def _add_tokens(
    values: dict[str, object], settings: TokenizerSettings, where: str, say: Callable[[str], None]
) -> None:
    """Adds what the files beside the vocabulary add.

    Tokens with a role stand for no text; all others are found in texts, as they are there.

    Raises:
        DataError: an id is not the one that the token has, or would have.
    """
    bare = JsonTokenizer(_dumped(values), where)
    known = {piece: index for index, piece in enumerate(bare.vocabulary) if piece}
    roles = {bare.vocabulary[index] for index in bare.special_ids.values() if index >= 0}
    roles.update(settings.roles().values())
    size = settings.config.get("vocab_size")
    listed = values.get("added_tokens")
    table = {token["content"]: token for token in listed} if isinstance(listed, list) else {}
    for token in sorted(settings.added(), key=lambda t: (t.index is None, t.index or 0)):
        index = known.get(token.content)
        following = max(known.values(), default=-1) + 1
        if index is None and token.index is None and isinstance(size, int) and following >= size:
            say(
                f"{token.source}: {shown(token.content)} is no token of the vocabulary, and the "
                "model has no vector for another: left out"
            )
            continue
        if token.index not in (None, following if index is None else index):
            raise DataError(
                f"{token.source}: token {shown(token.content)} has the id {token.index}, but "
                f"{f'{following} comes next' if index is None else f'{index} in {where}'}; the "
                "files do not belong together"
            )
        index = following if index is None else index
        known[token.content] = index
        table.setdefault(token.content, {"id": index, "content": token.content, **token.flags})
    for content, entry in table.items():
        entry["special"] = content in roles
    values["added_tokens"] = sorted(table.values(), key=lambda entry: entry["id"])
    if table:
        found = JsonTokenizer(_dumped(values), where)
        wrong = [
            content
            for content, entry in table.items()
            if found.piece_ids([content]) != [entry["id"]]
        ]
        if wrong:
            raise DataError(
                f"{where}: token {shown(wrong[0])} can't have the id {table[wrong[0]]['id']}: the "
                "vocabulary has holes before it"
            )


def _with_special_ids(
    values: dict[str, object],
    settings: TokenizerSettings,
    arch: str,
    where: str,
    say: Callable[[str], None],
) -> Tokenizer:
    """The tokenizer, its special tokens those that the files name where spelling says otherwise."""
    spelled = JsonTokenizer(_dumped(values), where)
    ids = {
        role: spelled.piece_ids([content])[0]
        for role, content in settings.roles().items()
        if content in spelled.vocabulary and role in _ROLES[arch]
    }
    if arch == "bert":  # there they begin and end a text
        ids |= {mine: ids[role] for mine, role in (("bos", "cls"), ("eos", "sep")) if role in ids}
    else:
        for role in ("bos", "eos"):
            if found := settings.ids(role):
                index, file = found
                if index < spelled.vocab_size and spelled.vocabulary[index]:
                    ids[role] = index
                elif (own := ids.get(role, spelled.special_ids[role])) >= 0:
                    say(
                        f"{file}: {role}_token_id {index} is no token of this tokenizer: its own "
                        f"{shown(spelled.vocabulary[own])} is taken"
                    )
    other = {role: index for role, index in ids.items() if spelled.special_ids[role] != index}
    return _json_tokenizer({SPECIAL_IDS: other, **values} if other else values, Path(where))


def _check_frames(
    tokenizer: Tokenizer, values: Mapping[str, object], where: str, say: Callable[[str], None]
) -> None:
    """Makes sure that a text gets the special tokens that ours gives it.

    Raises:
        DataError: it gets others.
    """
    if not values.get("post_processor"):
        say(f"{where}: puts no special tokens around a text; [CLS] and [SEP] are, as in any BERT")
        return
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    single, pair = _frame(values, ""), _frame(values, "", "")
    if _special(single) != [cls, sep]:
        raise DataError(
            f"{where}: post_processor puts {' '.join(single.tokens) or 'nothing'} around a text, "
            "and a BERT of ours its [CLS] and [SEP]; convert a model with BERT's template"
        )
    if _special(pair) != [cls, sep, sep]:
        say(
            f"{where}: post_processor puts {' '.join(pair.tokens)} around a pair; ours has one "
            "separator between two texts: answers about pairs will differ"
        )


def _frame(values: Mapping[str, object], text: str, pair: str | None = None) -> Encoding:
    """What the library makes of a text or a pair, special tokens included."""
    import tokenizers

    parts = {key: value for key, value in values.items() if key != SPECIAL_IDS}
    return tokenizers.Tokenizer.from_str(_dumped(parts).decode("utf-8")).encode(text, pair)


def _special(encoding: Encoding) -> list[int]:
    marked = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
    return [index for index, special in marked if special]


def lowercased(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, which lower-cases texts first."""
    parts = _parts(tokenizer)
    first: list[object] = [{"type": "Lowercase"}]
    rest = [parts["normalizer"]] if parts.get("normalizer") else []
    parts["normalizer"] = {"type": "Sequence", "normalizers": first + rest}
    return _json_tokenizer(parts, Path(JSON))


def _parts(tokenizer: Tokenizer) -> dict[str, object]:
    return json_object(tokenizer.to_bytes(), Path(JSON))


def _dumped(values: Mapping[str, object]) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode("utf-8")


def _json_tokenizer(values: Mapping[str, object], file: Path) -> JsonTokenizer:
    return JsonTokenizer(_dumped(values), str(file))


def _bytes(file: Path) -> bytes:
    return read_bounded(file, SIZE_LIMIT, TOO_LARGE)


def write_tokenizer(
    folder: Path, tokenizer: Tokenizer, arch: str, max_len: int, say: Callable[[str], None]
) -> None:
    """Writes a tokenizer so that transformers' AutoTokenizer loads and frames as the model needs.

    A SentencePiece model, which no class of theirs reads for these architectures, is written as a
    tokenizer.json where that cuts texts alike; else it is copied as it is, and that is said.
    """
    in_json = None
    if isinstance(tokenizer, SentencePieceTokenizer):
        in_json = as_tokenizer_json(tokenizer)
    if isinstance(tokenizer, WordPieceTokenizer):
        vocabulary = {piece: index for index, piece in enumerate(tokenizer.vocabulary) if piece}
        engine = wordpiece_engine(vocabulary, tokenizer.lowercase)
        engine.add_special_tokens([piece for piece in _BERT_SPECIAL_TOKENS if piece in vocabulary])
        write_atomically(inside(folder, VOCABULARY), tokenizer.to_bytes())
        values = json.loads(engine.to_str())
    elif isinstance(tokenizer, JsonTokenizer):
        values = json.loads(tokenizer.to_bytes())
    elif in_json is not None:
        values = in_json
    else:
        write_atomically(inside(folder, tokenizer.file_name), tokenizer.to_bytes())
        say(
            f"{tokenizer.file_name}: transformers has no {arch} tokenizer that cuts texts as this "
            "SentencePiece model does: it is copied as it is"
        )
        return
    values.pop(SPECIAL_IDS, None)
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
    elif arch == "bert":  # whose models read segments
        settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
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
