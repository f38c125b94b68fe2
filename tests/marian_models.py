"""Tiny random Marian models, with the files that OPUS-MT's directories have."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

import sentencepiece  # noqa: E402
import torch  # noqa: E402
from tiny_models import shake  # noqa: E402

SOURCE = [
    *("the", "a", "cat", "dog", "mat", "sat", "ran", "on"),
    *("to", "and", "old", "new", "house", "tree", "sees", "finds"),
]
TARGET = [
    *("der", "die", "das", "kätzchen", "hund", "matte", "saß", "lief"),
    *("auf", "zu", "und", "alt", "neu", "haus", "baum", "süß"),
]
SIZES = {
    "d_model": 16,
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 24 for side in ("encoder", "decoder")},
    "max_position_embeddings": 40,
}


def sentences(words: list[str], count: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(words, k=generator.randint(1, 6))) for _ in range(count)]


def train(words: list[str], kind: str) -> bytes:
    """A SentencePiece model of these words."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(sentences(words, 200, 1)),
        model_writer=model,
        model_type=kind,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


def pieces_of(raw: bytes) -> list[str]:
    model = sentencepiece.SentencePieceProcessor()
    model.LoadFromSerializedProto(raw)
    return [model.IdToPiece(i) for i in range(model.GetPieceSize()) if not model.IsControl(i)][1:]


def save_marian(
    folder: Path,
    *,
    kind: str = "unigram",
    apart: bool = False,
    without: int = 0,
    steps: int = 0,
    **changes,
) -> torch.nn.Module:
    """Saves a random Marian model, and returns it.

    Args:
        folder: to write.
        kind: of its SentencePiece models.
        apart: whether both sides have vocabularies of their own.
        without: how many pieces of each model have no number.
        steps: of training.
        changes: of its configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raws = {"source": train(SOURCE, kind), "target": train(TARGET, kind)}
    own = [pieces_of(raw)[: -without or None] for raw in raws.values()]
    joint = sorted({*own[0], *own[1], ">>deu<<", ">>fra<<"})
    tables = {"vocab.json": own[0] if apart else joint}
    if apart:  # padding has one number
        size = max(map(len, own))
        own = [[*pieces, *(f"<{i}>" for i in range(size - len(pieces)))] for pieces in own]
        tables = {"vocab.json": own[0], "target_vocab.json": own[1]}
    sizes = []
    for name, pieces in tables.items():
        table = {p: i for i, p in enumerate(["</s>", "<unk>", *pieces, "<pad>"])}
        (folder / name).write_text(json.dumps(table), "utf-8")
        sizes.append(len(table))
    for side, raw in raws.items():
        (folder / f"{side}.spm").write_bytes(raw)
    names = {"tokenizer_class": "MarianTokenizer", "separate_vocabs": apart}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    pad = sizes[-1] - 1
    values = {
        **SIZES,
        "vocab_size": sizes[0],
        "decoder_vocab_size": sizes[-1],
        "share_encoder_decoder_embeddings": not apart,
        "pad_token_id": pad,
        "eos_token_id": 0,
        "decoder_start_token_id": pad,
        "forced_eos_token_id": 0,
        "activation_function": "swish",
        "scale_embedding": True,
    }
    torch.manual_seed(7)
    model = transformers.MarianMTModel(transformers.MarianConfig(**{**values, **changes})).eval()
    shake(model)
    with torch.no_grad():
        model.final_logits_bias.normal_(0, 0.3)
        for name, weight in model.named_parameters():
            if "shared" in name or "embed_tokens" in name:
                weight.normal_(0, 0.3)
                weight[-1] = 0.0  # <pad>, as in OPUS-MT's
        model.final_logits_bias[0, pad] = 0.0
    if steps:
        learn(model, transformers.MarianTokenizer.from_pretrained(folder), steps)
    model.generation_config = transformers.GenerationConfig(
        num_beams=5,
        early_stopping="never",
        max_length=38,
        bad_words_ids=[[pad], [1]],
        renormalize_logits=True,
        forced_eos_token_id=0,
        decoder_start_token_id=pad,
        pad_token_id=pad,
        eos_token_id=0,
    )
    model.save_pretrained(folder)
    return model


def learn(model: torch.nn.Module, tokenizer, steps: int) -> None:
    """Teaches a model to translate word by word, some words in two ways."""
    generator = random.Random(2)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        src = sentences(SOURCE, 24, generator.randrange(1 << 30))
        ways = [
            [TARGET[SOURCE.index(w) - (generator.random() < 0.2)] for w in s.split()] for s in src
        ]
        tgt = [" ".join(words) for words in ways]
        batch = tokenizer(src, text_target=tgt, return_tensors="pt", padding=True)
        batch["labels"][batch["labels"] == tokenizer.pad_token_id] = -100
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
