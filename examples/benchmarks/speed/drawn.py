"""Models with random weights, of the sizes that are measured, where no trained one is given.

Their outputs say nothing, so their lengths are set; what a step costs does not depend on weights.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from attn_cli.models import CONFIGS, build_model
from attn_cli.models.directory import ModelConfig, write_config, write_weights
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, write_tokenizers

# d_model, layers of each stack, heads, tokens
TRANSLATORS = {
    "default": (128, 3, 4, 2000),
    "d256": (256, 3, 4, 8000),
    "base": (512, 6, 8, 32000),
}
LANGUAGE = {"n_embd": 512, "n_layer": 6, "n_head": 8}
CLASSIFIER = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}  # MiniLM's


def translator(place: Path, name: str, pairs: Path) -> None:
    """A transformer with the tokens of some pairs and, beyond these, unused ones."""
    d_model, layers, heads, vocab = TRANSLATORS[name]
    place.mkdir()
    pieces = place / "pieces.txt"
    _wordpiece(pairs, vocab, pieces)
    tokenizer = load_tokenizer(str(pieces))
    tokenizer.file_name = "vocab.txt"
    write_tokenizers(place, tokenizer, tokenizer)
    pieces.unlink()
    config = CONFIGS["transformer"](
        d_model=d_model,
        d_ff=4 * d_model,
        n_heads=heads,
        n_encoder_layers=layers,
        n_decoder_layers=layers,
        dropout=0.1,
        src_vocab=vocab,
        tgt_vocab=vocab,
        share_embeddings=True,
    )
    torch.manual_seed(1)
    model = build_model("transformer", config)
    write_weights(place, dict(model.named_parameters()), {})
    write_config(place, ModelConfig("transformer", "translate", config, finished=True))


def language_model(place: Path, text: Path) -> None:
    """A GPT-2 of transformers."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    place.mkdir()
    engine = ByteLevelBPETokenizer()
    engine.train([str(text)], 8000, special_tokens=["<|endoftext|>"], show_progress=False)
    engine.save_model(str(place))
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(vocab_size=engine.get_vocab_size(), **ends, **LANGUAGE)
    torch.manual_seed(1)
    GPT2LMHeadModel(config).save_pretrained(place)


def classifier(place: Path, text: Path) -> None:
    """A BERT of transformers with two labels."""
    from transformers import BertConfig, BertForSequenceClassification

    place.mkdir()
    _wordpiece(text, 30522, place / "vocab.txt")
    config = BertConfig(intermediate_size=4 * CLASSIFIER["hidden_size"], **CLASSIFIER)
    torch.manual_seed(1)
    BertForSequenceClassification(config).save_pretrained(place)


def _wordpiece(text: Path, size: int, out: Path) -> None:
    command = [sys.executable, "-m", "attn_cli", "tokenize", "train", text, "--type", "wordpiece"]
    command += ["--vocab-size", str(size), "-o", out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pieces = out.read_text("utf-8").split("\n")[:-1]
    pieces += [f"[unused{n}]" for n in range(size - len(pieces))]
    out.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")
