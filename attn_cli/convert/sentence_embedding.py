"""The files by which sentence-transformers says what a text's vector is, and back.

modules.json names the parts: a Transformer, a Pooling, and a Normalize perhaps. Any other part
would change the vectors, and is refused by its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attn_cli.config import load_json, shown
from attn_cli.config.embedding import EmbedDefaults
from attn_cli.convert.huggingface_specials import MODULES
from attn_cli.errors import DataError
from attn_cli.files import inside, read_bounded, write_atomically

_PROMPTS = "config_sentence_transformers.json"
_SETTINGS = "sentence_bert_config.json"
_LIMIT = 1 << 20  # bytes
_PART = "sentence_transformers.models."
# Their pooling -> ours, in both spellings that they use.
_POOLINGS = {
    "cls": "cls",
    "cls_token": "cls",
    "mean": "mean",
    "mean_tokens": "mean",
    "max": "max",
    "max_tokens": "max",
}


@dataclass(frozen=True)
class SentenceEmbedding:
    """What a directory of sentence-transformers says.

    Attributes:
        folder: where its transformer is.
        defaults: of `embed`.
        lowercase: whether texts are lower-cased before they are cut.
    """

    folder: Path
    defaults: EmbedDefaults
    lowercase: bool


def read_sentence_embedding(folder: Path) -> SentenceEmbedding | None:
    """Reads the directory's files; None if it is none of sentence-transformers.

    Raises:
        DataError: it has a part, or a pooling, that our vectors have not.
    """
    if not (folder / MODULES).exists():
        return None
    file = inside(folder, MODULES)
    parts = _parts(file)
    kinds = [kind for kind, _ in parts]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise DataError(
            f"{file}: parts {', '.join(kinds) or 'none'} are not supported, Transformer, Pooling "
            "and Normalize (in this order, the last one may be absent) are"
        )
    below = folder / parts[0][1]
    prompts = _object(folder / _PROMPTS)
    named = prompts.get("prompts") or {}
    if not isinstance(named, dict) or not all(isinstance(t, str) for t in named.values()):
        raise DataError(f"{folder / _PROMPTS}: prompts: names and texts are needed")
    texts = {str(name): text for name, text in named.items()}
    chosen = prompts.get("default_prompt_name")
    if chosen is not None and chosen not in named:
        raise DataError(
            f"{folder / _PROMPTS}: default_prompt_name {shown(chosen)} is none of its prompts"
        )
    settings = _object(below / _SETTINGS)
    values = {
        "pool": _pooling(folder / parts[1][1] / "config.json", any(texts.values())),
        "normalize": "Normalize" in kinds,
        "prompt_names": list(texts),
        "prompt_texts": list(texts.values()),
        "prompt": chosen,
        "max_len": settings.get("max_seq_length"),
    }
    known = {key: value for key, value in values.items() if value is not None}
    defaults = EmbedDefaults.read(known, str(below / _SETTINGS))
    return SentenceEmbedding(below, defaults, settings.get("do_lower_case") is True)


def _parts(file: Path) -> list[tuple[str, str]]:
    """The kinds and folders of the parts, in order."""
    try:
        rows = json.loads(read_bounded(file, _LIMIT, "larger than 1 MiB").decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file}: a list of parts is needed")
    parts = []
    for row in rows:
        place = str(row.get("path") or "")
        if place and (Path(place).name != place or place == ".."):
            raise DataError(f"{file}: path {shown(place)} is no folder of this directory")
        parts.append((str(row.get("type")).rpartition(".")[2], place))
    return parts


def _pooling(file: Path, prompts: bool) -> str:
    values = _object(file)
    modes = values.get("pooling_mode")
    if modes is None:
        flags = {k: v for k, v in values.items() if k.startswith("pooling_mode_")}
        modes = [k.removeprefix("pooling_mode_") for k, on in flags.items() if on]
        modes = modes if flags else ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in _POOLINGS:
        raise DataError(
            f"{file}: pooling {shown(modes)} is not supported; one of cls, mean and max is"
        )
    if prompts and values.get("include_prompt") is False:
        raise DataError(
            f"{file}: include_prompt false is not supported: a prompt's tokens are pooled with "
            "the text's"
        )
    return _POOLINGS[modes[0]]


def _object(file: Path) -> Mapping[str, object]:
    return load_json(inside(file.parent, file.name)) if file.exists() else {}


def write_sentence_embedding(folder: Path, defaults: EmbedDefaults, d_model: int) -> None:
    """Writes the same files for a model whose `embed` has these defaults."""
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling")]
    kinds += [("Normalize", "2_Normalize")] if defaults.normalize else []
    files: dict[str, object] = {
        MODULES: [
            {"idx": index, "name": str(index), "path": path, "type": _PART + kind}
            for index, (kind, path) in enumerate(kinds)
        ],
        _PROMPTS: {"prompts": defaults.prompts, "default_prompt_name": defaults.prompt},
        _SETTINGS: {"max_seq_length": defaults.max_len, "do_lower_case": False},
    }
    for name, values in files.items():
        write_atomically(inside(folder, name), _dumped(values))
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    pooling: dict[str, object] = {"word_embedding_dimension": d_model}
    pooling |= {f"pooling_mode_{theirs}": defaults.pool == ours for ours, theirs in modes.items()}
    for _, path in kinds[1:]:
        (folder / path).mkdir()
    write_atomically(inside(folder / "1_Pooling", "config.json"), _dumped(pooling))


def _dumped(values: object) -> bytes:
    return json.dumps(values, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"
