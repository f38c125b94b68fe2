"""Marian directories compute and write here what they do in transformers, and ours there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from drawn_models import write_translator
from marian_models import SOURCE, TARGET, save_marian, sentences, transformers
from program import inside
from safetensors.torch import load_file, save_file
from tiny_models import edit_config
from torch.nn import functional as F

from attn_cli.models.directory import load_model, read_config, write_weights
from attn_cli.tokenizers.tokenizer_files import read_tokenizers

CPU = torch.device("cpu")
TEXTS = sentences(SOURCE, 20, 5)
ODD = [
    *("the ß cat", "ä", "qx the", "the  cat ", "the、cat", "Ünïcode cat"),
    *(">>fra<< the cat", ">>deu<< a", ">>deu<< qx"),
]


def converted(source: Path, name: str = "ours", *options: object) -> Path:
    target = source.with_name(name)
    inside("convert", source, "-o", target, *options)
    return target


def tokenizer_of(folder: Path):
    return transformers.AutoTokenizer.from_pretrained(folder)


def our_logits(place: Path, src_ids: torch.Tensor, tgt_ids: torch.Tensor) -> torch.Tensor:
    _, model = load_model(place, CPU)
    with torch.no_grad():
        hidden = model(src_ids, torch.ones_like(src_ids).bool(), tgt_ids).hidden
        return F.linear(hidden, *model.output_layer)


def their_logits(folder: Path, src_ids: torch.Tensor, tgt_ids: torch.Tensor) -> torch.Tensor:
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_ids=src_ids, decoder_input_ids=tgt_ids).logits


def written(place: Path, texts: list[str] = TEXTS) -> list[str]:
    stdin = "".join(f"{text}\n" for text in texts).encode()
    return inside("decode", "-m", place, "--device", "cpu", stdin=stdin).lines


def theirs_written(folder: Path, texts: list[str] = TEXTS) -> list[str]:
    """What transformers writes by a directory's own settings."""
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = tokenizer_of(folder)
    with torch.no_grad():
        rows = [model.generate(**tokenizer(text, return_tensors="pt"))[0] for text in texts]
    return tokenizer.batch_decode(rows, skip_special_tokens=True)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Path:
    """A Marian directory that transformers taught to translate words."""
    folder = tmp_path_factory.mktemp("learnt") / "hf"
    one = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
    wide = dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64)
    save_marian(folder, steps=120, d_model=32, **one, **wide)
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kind": "bpe", "activation_function": "gelu", "scale_embedding": False},
        {"apart": True, "activation_function": "relu"},
        {"tie_word_embeddings": False, "apart": True},
        {"without": 5},
    ],
    ids=str,
)
def test_weights_compute_what_they_compute_in_transformers(tmp_path, changes):
    folder = tmp_path / "hf"
    model = save_marian(folder, **changes)
    place = converted(folder)
    generator = torch.Generator().manual_seed(2)
    n_src, n_tgt = model.config.vocab_size, model.config.decoder_vocab_size
    src_ids = torch.randint(n_src, (3, 11), generator=generator)
    tgt_ids = torch.randint(n_tgt, (3, 9), generator=generator)
    expected = their_logits(folder, src_ids, tgt_ids)
    ours = our_logits(place, src_ids, tgt_ids)
    known = [i for i in range(n_tgt) if i not in (1, n_tgt - 1)]  # the bad words have no chance
    torch.testing.assert_close(ours[..., known], expected[..., known], atol=1e-4, rtol=1e-4)
    assert (ours[..., [1, *range(n_tgt - 1, ours.shape[-1])]] < -1e3).all()


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("changes", [{}, {"apart": True}, {"without": 6}], ids=str)
def test_texts_have_the_tokens_that_they_have_in_transformers(tmp_path, kind, changes):
    folder = tmp_path / "hf"
    save_marian(folder, kind=kind, **changes)
    src, tgt = read_tokenizers(converted(folder))
    tokenizer = tokenizer_of(folder)
    unknown = tokenizer.unk_token_id
    table = json.loads((folder / "vocab.json").read_text("utf-8"))
    for text in [*TEXTS, *(ODD if not changes.get("apart") else ODD[:6])]:
        ids = [i if i < len(table) else unknown for i in src.encode([text])[0]]
        assert [*ids, src.eos_id] == tokenizer(text).input_ids, text
    if "without" not in changes:
        for text in sentences(TARGET, 20, 6):
            (ids,) = tgt.encode([text])
            assert [*ids, tgt.eos_id] == tokenizer(text_target=text).input_ids, text
            assert tgt.decode([ids]) == [tokenizer.decode(ids)] == [text]
    assert tgt.bos_id == tgt.pad_id == tokenizer.pad_token_id


def test_decode_writes_what_transformers_writes_by_the_same_settings(learnt, tmp_path):
    expected = theirs_written(learnt)
    assert len(set(expected)) > 12
    run = inside("convert", learnt, "-o", tmp_path / "m")
    told = "written with --beam 5 --stopping bound --max-len 36"
    assert f"{learnt / 'generation_config.json'}: texts are {told}" in run.said
    same = [a == b for a, b in zip(written(tmp_path / "m"), expected, strict=True)]
    assert sum(same) >= len(same) - 1  # one may be cut at its limit, where ours counts its end
    # And back again.
    inside("convert", tmp_path / "m", "--to", "huggingface", "-o", tmp_path / "back")
    assert theirs_written(tmp_path / "back") == expected


def test_a_bad_word_has_no_probability_where_the_rest_is_made_to_sum_to_one(learnt, tmp_path):
    """The score of <pad>, 0 in OPUS-MT's, may be that of the best token."""
    place = converted(learnt, "with")
    settings = json.loads((learnt / "generation_config.json").read_text())
    other = tmp_path / "plain"
    other.mkdir()
    for file in learnt.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    settings["renormalize_logits"] = False
    (other / "generation_config.json").write_text(json.dumps(settings))
    _, with_them = load_model(place, CPU)
    _, without = load_model(converted(other, "without"), CPU)
    pad = settings["pad_token_id"]
    assert with_them.output_bias[pad] < -1e3 and without.output_bias[pad] == 0
    expected = theirs_written(other)
    same = [a == b for a, b in zip(written(other.with_name("without")), expected, strict=True)]
    assert sum(same) >= len(same) - 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"positions": "sinusoidal-halves", "attention": "dot", "tie_embeddings": False},
        {"combine": "concat", "tie_key_value": True, "activation": "swish"},
        {"projections": "none", "scale_embeddings": False, "activation": "gelu-tanh"},
    ],
    ids=str,
)
def test_a_translator_of_ours_computes_the_same_as_a_marian_model(tmp_path, changes):
    parts = {"norm": "post", "positions": "sinusoidal", **changes}
    place = write_translator(tmp_path / "m", **parts)
    _, model = load_model(place, CPU)
    generator = torch.Generator().manual_seed(3)
    weights = {
        name: weight.detach() + 0.2 * torch.randn(weight.shape, generator=generator)
        for name, weight in model.named_parameters()
    }
    write_weights(place, weights, {})
    folder = converted(place, "hf", "--to", "huggingface")
    size = read_config(place).model.tgt_vocab
    src_ids = torch.randint(size, (3, 11), generator=generator)
    tgt_ids = torch.randint(size, (3, 9), generator=generator)
    expected = our_logits(place, src_ids, tgt_ids)
    found = their_logits(folder, src_ids, tgt_ids)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    src, _ = read_tokenizers(place)
    for text in ("the cat sat", "a dog ran to  the mat", "кот 漢 пёс"):
        assert tokenizer_of(folder)(text).input_ids == [*src.encode([text])[0], src.eos_id]
    # And in again: another numbering of the vectors, the same model.
    back = converted(folder, "back")
    torch.testing.assert_close(our_logits(back, src_ids, tgt_ids), expected, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "hf"
    save_marian(folder)
    return folder


@pytest.fixture
def copy(plain, tmp_path) -> Path:
    folder = tmp_path / "hf"
    folder.mkdir()
    for file in plain.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def refused(folder: Path) -> str:
    target = folder.with_name("new") / "m"
    said = inside("convert", folder, "-o", target, status=3).said
    assert str(folder) in said and not target.parent.exists()
    return said


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"architectures": ["MarianForCausalLM"]}, "architectures ['MarianForCausalLM'] are not"),
        ({"normalize_before": True}, "normalize_before True is not supported"),
        ({"decoder_ffn_dim": 30}, "encoder_ffn_dim 24 beside decoder_ffn_dim 30"),
        ({"activation_function": "mish"}, "activation_function 'mish' is not supported"),
        ({"scale_embedding": "yes"}, "scale_embedding: true or false is needed, not 'yes'"),
        ({"d_model": None}, "'d_model' is missing"),
        ({"pad_token_id": 9}, "pad_token_id 9 is"),
        ({"eos_token_id": -1}, "eos_token_id -1 is no token"),
        ({"decoder_start_token_id": [1, 2]}, "decoder_start_token_id [1, 2] is no token"),
        ({"vocab_size": 20}, "shared embeddings need one vocabulary"),
        ({"encoder_layers": 200}, "tensors can't be the layers of config.json"),
        ({"tie_word_embeddings": False}, "tensor 'lm_head.weight' is missing"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map"),
    ],
)
def test_a_config_that_ours_does_not_compute_is_refused(copy, change, cause):
    edit_config(copy, **change)
    assert cause in refused(copy)


@pytest.mark.parametrize("name", ["vocab.json", "source.spm", "target.spm", "model.safetensors"])
def test_a_file_that_is_missing_or_damaged_is_refused(copy, name):
    (copy / name).write_bytes(b"{}" if name.endswith("json") else b"\x00nothing")
    assert name in refused(copy)
    (copy / name).unlink()
    assert name in refused(copy)


def test_another_table_of_positions_is_refused_and_theirs_is_not(copy):
    tensors = load_file(copy / "model.safetensors")
    name = "model.encoder.embed_positions.weight"
    model = transformers.MarianMTModel.from_pretrained(copy)
    tensors[name] = model.model.encoder.embed_positions.weight.detach().clone()
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    inside("convert", copy, "-o", copy.with_name("ours"))
    tensors[name][3] += 0.1
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    assert "encoder.embed_positions.weight' is not the table of sinusoids" in refused(copy)


def test_a_second_matrix_that_is_no_copy_is_refused(copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["model.encoder.embed_tokens.weight"] = tensors["model.shared.weight"] + 1
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    assert "encoder.embed_tokens.weight is no copy of shared.weight" in refused(copy)


def test_one_of_theirs_is_made_one_of_ours_first(copy):
    target = copy.with_name("new")
    for to in ("huggingface", "ctranslate2"):
        said = inside("convert", copy, "--to", to, "-o", target, status=3).said
        assert "a 'marian' of transformers, no model directory of attn; make it one first" in said
    assert not target.exists()


def test_settings_that_decode_has_not_are_named(copy):
    file = copy / "generation_config.json"
    changes = {"bad_words_ids": [[3, 4], [1]], "min_length": 4, "repetition_penalty": 1.5}
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    said = inside("convert", copy, "-o", copy.with_name("ours")).said
    assert "--min-len 3" in said and "repetition_penalty 1.5, bad_words_ids [[3, 4]]" in said


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "norm 'pre': MarianMTModel of transformers has 'post' alone"),
        ({"norm": "post", "positions": "rotary"}, "positions 'rotary': MarianMTModel"),
        ({"norm": "post", "normalize": "sum"}, "normalize 'sum': MarianMTModel"),
    ],
)
def test_what_a_marian_model_lacks_is_refused_and_leaves_nothing(tmp_path, changes, told):
    place = write_translator(tmp_path / "m", **changes)
    run = inside("convert", place, "--to", "huggingface", "-o", tmp_path / "n" / "hf", status=3)
    assert told in run.said and str(place) in run.said
    assert not (tmp_path / "n").exists()


def test_ctranslate2_writes_what_a_marian_model_writes(learnt, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    place = converted(learnt, "again")
    inside("convert", place, "--to", "ctranslate2", "-o", tmp_path / "ct2")
    src, tgt = read_tokenizers(place)
    translator = ctranslate2.Translator(str(tmp_path / "ct2"), intra_threads=1)
    pieces = [src.pieces(ids) for ids in src.encode(TEXTS)]
    found = translator.translate_batch(pieces, beam_size=5, patience=2, max_decoding_length=36)
    texts = tgt.decode([tgt.piece_ids(each.hypotheses[0]) for each in found])
    pairs = list(zip(texts, theirs_written(learnt), strict=True))
    ended = [a == b for a, b in pairs if len(b.split()) < 8]  # others go on to their limit
    assert sum(ended) >= len(ended) - 1 >= 12
