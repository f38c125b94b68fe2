"""A translator written for CTranslate2 computes and writes there what it does here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from drawn_models import write_translator
from program import inside, write_reversal
from torch.nn import functional as F

from attn_cli.models import build_model
from attn_cli.models.directory import load_model, read_config, write_config, write_weights
from attn_cli.nn.positions import POSITIONS
from attn_cli.tokenizers.tokenizer_files import read_tokenizers

ctranslate2 = pytest.importorskip("ctranslate2")

CPU = torch.device("cpu")
PAIRS = [
    ("the cat sat on the mat", "a dog ran"),
    ("a dog", "the cat sat on the mat to the dog the mat"),
    ("שלום", "кот и пёс"),
]


def converted(place: Path, *options: object) -> Path:
    target = place.with_name(f"{place.name}-ct2")
    inside("convert", place, "--to", "ctranslate2", "-o", target, *options)
    return target


def shaken(place: Path) -> Path:
    """Every weight of a drawn model random: norms of 1 and biases of 0 would hide a mistake."""
    _, model = load_model(place, CPU)
    generator = torch.Generator().manual_seed(3)
    weights = {
        name: weight.detach() + 0.2 * torch.randn(weight.shape, generator=generator)
        for name, weight in model.named_parameters()
    }
    write_weights(place, weights, {})
    return place


def our_log_probs(place: Path, source: str, target: str) -> list[float]:
    """ln p of each token, what ours never writes being impossible."""
    _, model = load_model(place, CPU)
    src, tgt = read_tokenizers(place)
    src_ids = torch.tensor([[*src.encode([source])[0], src.eos_id]])
    tgt_ids = torch.tensor([[tgt.bos_id, *tgt.encode([target])[0], tgt.eos_id]])
    with torch.no_grad():
        hidden = model(src_ids, torch.ones_like(src_ids).bool(), tgt_ids[:, :-1]).hidden
        logits = F.linear(hidden, *model.output_layer)
    logits[..., list(tgt.never_written)] = float("-inf")
    return logits.log_softmax(-1)[0].gather(-1, tgt_ids[0, 1:, None])[:, 0].tolist()


def their_log_probs(place: Path, ct2: Path, **options: object) -> list[list[float]]:
    src, tgt = read_tokenizers(place)
    pieces = [(src.pieces(src.encode([a])[0]), tgt.pieces(tgt.encode([b])[0])) for a, b in PAIRS]
    translator = ctranslate2.Translator(str(ct2), device="cpu", intra_threads=1, **options)
    found = translator.score_batch([a for a, _ in pieces], [b for _, b in pieces])
    return [result.log_probs for result in found]


@pytest.mark.parametrize(
    "changes",
    [
        *({"positions": kind} for kind in POSITIONS),
        {"norm": "post"},
        {"norm": "post", "positions": "relative", "max_distance": 2, "attention": "dot"},
        {"tie_embeddings": False, "activation": "gelu", "tie_key_value": True},
        {"activation": "swish", "scale_embeddings": False, "combine": "concat"},
        {"projections": "none", "activation": "gelu-tanh"},
        {"activation": "gelu-sigmoid", "attention": "dot", "positions": "rotary"},
    ],
    ids=str,
)
def test_every_part_that_they_have_computes_the_same(tmp_path, changes):
    place = shaken(write_translator(tmp_path / "m", **changes))
    found = their_log_probs(place, converted(place))
    for (source, target), theirs in zip(PAIRS, found, strict=True):
        assert theirs == pytest.approx(our_log_probs(place, source, target), abs=2e-4)


def translations(place: Path, ct2: Path, lines: list[str], **options: object) -> list[str]:
    """What CTranslate2 writes by itself, told nothing of special tokens."""
    src, tgt = read_tokenizers(place)
    translator = ctranslate2.Translator(str(ct2), device="cpu", intra_threads=1, **options)
    pieces = [src.pieces(ids) for ids in src.encode(lines)]
    found = translator.translate_batch(pieces, beam_size=5, patience=2)
    return tgt.decode([tgt.piece_ids(result.hypotheses[0]) for result in found])


def test_what_was_learnt_is_written_there_too(reversal_model, tmp_path):
    pairs = write_reversal(tmp_path / "new.tsv", 200, seed=8).read_text().splitlines()
    lines = [pair.split("\t")[0] for pair in pairs]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    ours = inside("decode", "-m", reversal_model, "--beam", 5, stdin=stdin).lines
    sizes = {}
    for precision, share in (("float32", 0.99), ("int8", 0.95)):
        ct2 = tmp_path / precision
        options = ("--precision", precision, "-o", ct2)
        run = inside("convert", reversal_model, "--to", "ctranslate2", *options)
        assert run.lines == [str(ct2)]
        assert (
            "searches as attn decode does with beam_size=5, patience=2, length_penalty=1"
            in run.said
        )
        theirs = translations(reversal_model, ct2, lines)
        assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= share * len(lines)
        sizes[precision] = (ct2 / "model.bin").stat().st_size
        assert ctranslate2.contains_model(str(ct2))
    assert sizes["int8"] < sizes["float32"] - 3 * 5 * 32 * 32  # a byte a weight, not four


def test_positions_that_are_a_table_have_an_end(tmp_path):
    for kind, told in (("sinusoidal", True), ("none", True), ("rotary", False)):
        place = write_translator(tmp_path / kind, positions=kind)
        run = inside("convert", place, "--to", "ctranslate2", "-o", tmp_path / f"{kind}-ct2")
        assert ("has 2,048 positions: longer texts fail there" in run.said) == told


def test_a_directory_of_theirs_holds_vocabularies_and_tokenizers(tmp_path):
    place = write_translator(tmp_path / "m")
    ct2 = converted(place)
    tokenizer = read_tokenizers(place)[1]
    assert sorted(file.name for file in ct2.iterdir()) == [
        *("config.json", "model.bin", "shared_vocabulary.json", "tokenizer.model")
    ]
    assert json.loads((ct2 / "shared_vocabulary.json").read_text()) == tokenizer.vocabulary
    values = json.loads((ct2 / "config.json").read_text())
    assert values["decoder_start_token"] == "<s>" and values["add_source_eos"] is True
    inside("convert", place, "--to", "ctranslate2", "-o", ct2, status=2)
    inside("convert", place, "--to", "ctranslate2", "-o", ct2, "--overwrite")


@pytest.mark.parametrize(
    ("arch", "changes", "told"),
    [
        ("recurrent", {}, "translate one token after another, this model is 'recurrent'"),
        ("transformer", {"attention": "cosine"}, "attention 'cosine': CTranslate2 has"),
        ("transformer", {"normalize": "sum"}, "normalize 'sum': CTranslate2 has 'softmax' alone"),
        ("transformer", {"combine": "mean"}, "combine 'mean': CTranslate2 has"),
    ],
)
def test_what_they_lack_is_refused_and_leaves_nothing(tmp_path, arch, changes, told):
    place = write_translator(tmp_path / "m", arch, **changes)
    run = inside("convert", place, "--to", "ctranslate2", "-o", tmp_path / "new" / "ct2", status=3)
    assert told in run.said and str(place) in run.said
    assert not (tmp_path / "new").exists()


def test_a_model_without_an_encoder_layer_is_refused(tmp_path):
    place = write_translator(tmp_path / "m")
    config = read_config(place)
    model = dataclasses.replace(config.model, n_encoder_layers=0)
    write_config(place, dataclasses.replace(config, model=model))
    write_weights(place, dict(build_model("transformer", model).named_parameters()), {})
    run = inside("convert", place, "--to", "ctranslate2", "-o", tmp_path / "ct2", status=3)
    assert f"{place}: CTranslate2 needs an encoder layer" in run.said
    assert not (tmp_path / "ct2").exists()


def test_options_that_a_conversion_lacks_are_wrong_usage(tmp_path):
    place = write_translator(tmp_path / "m")
    out = ("-o", tmp_path / "new")
    for options, told in (
        (("--to", "ctranslate2"), "--to ctranslate2 needs -o DIR"),
        (("--to", "ctranslate2", "--task", "pair", *out), "--task: --to ctranslate2 has no use"),
        (("--to", "huggingface", "--precision", "int8", *out), "--precision: --to huggingface"),
    ):
        assert told in inside("convert", place, *options, status=2).said
        assert not (tmp_path / "new").exists()


def test_without_their_library_it_says_what_to_install(tmp_path, monkeypatch):
    place = write_translator(tmp_path / "m")
    monkeypatch.setitem(__import__("sys").modules, "ctranslate2", None)
    run = inside("convert", place, "--to", "ctranslate2", "-o", tmp_path / "new", status=2)
    assert "pip install '.[fast]'" in run.said
