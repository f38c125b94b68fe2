"""A model with a part of its pieces, or with others: what it computes stays what it was."""

from __future__ import annotations

import dataclasses
import gzip
import random
import re
from pathlib import Path

import pytest
import torch
from drawn_models import write_nodes
from program import inside
from torch import Tensor

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.convert.stored_weights import Stored
from attn_cli.data.label_files import write_labels
from attn_cli.models import BACKBONES, CONFIGS, build_model
from attn_cli.models.directory import (
    WEIGHTS,
    ModelConfig,
    load_model,
    read_config,
    write_config,
    write_weights,
)
from attn_cli.models.shortlist import CandidateTable
from attn_cli.models.storage import load_tensors
from attn_cli.models.text import HeadConfig
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, read_tokenizers, write_tokenizers
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

CPU = torch.device("cpu")
NOTHING = ("--greedy", "--max-len", 8, "--scores", "--precision", "float32")


def sentences(seed: int, size: int = 150) -> list[str]:
    """Sentences of a seed's own words."""
    generator = random.Random(seed)
    syllables = ["".join(generator.choices("abdegiklmnoprstuv", k=2)) for _ in range(40)]
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(200)]
    return [" ".join(generator.choices(words, k=generator.randint(1, 6))) for _ in range(size)]


OURS, OTHERS = sentences(1), sentences(2)


def tokenizer_of(texts: list[str], kind: str = "unigram", size: int = 180) -> Tokenizer:
    options = TokenizerOptions(type=kind, vocab_size=size)
    return train_tokenizer(texts, options, seed=1, threads=1, say=lambda text: None)


@pytest.fixture(scope="module")
def shared() -> Tokenizer:
    return tokenizer_of(OURS + OTHERS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Pairs of OURS and the same backwards."""
    place = tmp_path_factory.mktemp("corpus") / "pairs.tsv"
    pairs = [f"{line}\t{' '.join(reversed(line.split()))}\n" for line in OURS]
    place.write_text("".join(pairs) + "\n")
    return place


def written(place: Path, config: ModelConfig, src: Tokenizer, tgt: Tokenizer) -> Path:
    """A drawn model; what no output has is as unlikely as anything."""
    place.mkdir()
    torch.manual_seed(3)
    model = build_model(config.arch, config.model, config.heads)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    write_weights(place, dict(model.named_parameters()), {"step": 7, "note": "drawn"})
    write_config(place, config)
    write_tokenizers(place, src, tgt)
    return place


def translator(place: Path, src: Tokenizer, tgt: Tokenizer, arch="transformer", **changes) -> Path:
    parts = {"d_model": 16, "n_encoder_layers": 1, "n_decoder_layers": 2, "dropout": 0.0}
    if arch in ("transformer", "mask-predict"):
        parts |= {"d_ff": 32, "n_heads": 2}
    if arch == "mask-predict":
        parts["n_lengths"] = 20
    parts |= {"src_vocab": src.vocab_size, "tgt_vocab": tgt.vocab_size}
    config = CONFIGS[arch](**{**parts, "share_embeddings": src is tgt, **changes})
    task = "mask-predict" if arch == "mask-predict" else "translate"
    return written(place, ModelConfig(arch, task, config, finished=True), src, tgt)


def reader(place: Path, tokenizer: Tokenizer, arch: str, *heads: HeadConfig, **sizes) -> Path:
    task = "continue" if arch == "gpt" else "predict" if heads and heads[0].task else "fill"
    parts = {"bert": {"d_ff": 16, "n_heads": 2, "n_layers": 1}, "gpt": {"d_ff": 16, "n_heads": 2}}
    parts["gpt"] |= {"n_layers": 2}
    parts["han"], parts["rnn"] = {"d_embedding": 8}, {"n_layers": 1}
    sizes = {"vocab_size": tokenizer.vocab_size, "d_model": 12, **parts.get(arch, {}), **sizes}
    config = BACKBONES[arch].Config(**sizes)
    model = ModelConfig(arch, task, config, finished=True, heads=heads)
    return written(place, model, tokenizer, tokenizer)


def trimmed(model: Path, corpus: Path) -> tuple[Path, str]:
    target = model.with_name(f"{model.name}-slim")
    run = inside("convert", model, "--trim-vocabulary", corpus, "-o", target)
    assert run.out.decode().strip() == str(target)
    return target, run.said


def kept_ids(old: Tokenizer, new: Tokenizer) -> Tensor:
    return torch.tensor(old.piece_ids(new.vocabulary))


def mute(model: Path, kept: Tensor) -> None:
    """Makes the tokens that are not kept impossible in the outputs of a model with a bias."""
    tensors, facts = load_tensors(model / WEIGHTS)
    gone = torch.ones(len(tensors["output_bias"]), dtype=torch.bool)
    gone[kept] = False
    tensors["output_bias"][gone] = -1e4
    write_weights(model, tensors, facts)


@pytest.mark.parametrize(
    ("arch", "changes"),
    [
        ("transformer", {}),
        ("transformer", {"tie_embeddings": False, "norm": "post"}),
        ("transformer", {"share_embeddings": False}),
        ("recurrent", {}),
        ("convolutional", {}),
        ("mask-predict", {}),
    ],
    ids=str,
)
def test_a_translator_writes_the_same_with_fewer_pieces(arch, changes, shared, corpus, tmp_path):
    model = translator(tmp_path / "model", shared, shared, arch, **changes)
    slim, said = trimmed(model, corpus)
    new = load_tokenizer(str(slim))
    kept = kept_ids(shared, new)
    assert len(kept) < 0.8 * shared.vocab_size
    sides = [f"{slim}, source", f"{slim}, target"] if "share_embeddings" in changes else [slim]
    for side in sides:
        assert f"{side}: {shared.vocab_size} pieces before, {len(kept)} after" in said
    assert f"{slim}: 0 of the first {2 * len(OURS)} texts are cut otherwise" in said
    mute(model, kept)
    stdin = "".join(f"{line}\n" for line in OURS[:20]).encode()
    options = NOTHING[-2:] if arch == "mask-predict" else NOTHING
    before, after = (inside("decode", "-m", m, *options, stdin=stdin).lines for m in (model, slim))
    assert [line.split("\t")[0] for line in after] == [line.split("\t")[0] for line in before]
    assert len(set(after)) > 5
    if arch != "mask-predict":
        scores = [[float(line.split("\t")[1]) for line in lines] for lines in (before, after)]
        # An output is scored as its text is cut: there, into pieces that may be gone here.
        pairs = [(old, new) for old, new in zip(*scores, strict=True) if old > -1000]
        assert len(pairs) > 10 and all(new == pytest.approx(old, abs=1e-4) for old, new in pairs)
    assert inside("decode", "-m", slim, *options, stdin=b"qux zzz!\n").out.strip()


def test_the_blank_of_ctc_stays_behind_the_tokens(shared, corpus, tmp_path):
    sound = {"source": "audio", "src_vocab": 0, "share_embeddings": False, "ctc": True}
    sound |= {"n_features": 16}
    model = translator(tmp_path / "model", shared, shared, **sound)
    slim, _ = trimmed(model, corpus)
    rows = [*kept_ids(shared, load_tokenizer(str(slim))).tolist(), shared.vocab_size]
    before, after = (dict(load_model(m, CPU)[1].named_parameters()) for m in (model, slim))
    for name in ("ctc.output.weight", "ctc.output.bias"):
        assert torch.equal(after[name], before[name][rows])
    inside("convert", model, "--precision", "float16", "-o", tmp_path / "half")


def test_source_and_target_are_trimmed_apart(shared, corpus, tmp_path):
    other = tokenizer_of(OURS + OTHERS, "bpe", 150)
    model = translator(tmp_path / "model", shared, other)
    slim, said = trimmed(model, corpus)
    src, tgt = read_tokenizers(slim)
    assert src.vocab_size < shared.vocab_size and tgt.vocab_size < other.vocab_size
    assert f"{slim}, source: {shared.vocab_size} pieces before, {src.vocab_size} after" in said
    assert f"{slim}, target: {other.vocab_size} pieces before, {tgt.vocab_size} after" in said
    config = read_config(slim).model
    assert (config.src_vocab, config.tgt_vocab) == (src.vocab_size, tgt.vocab_size)
    mute(model, kept_ids(other, tgt))
    stdin = "".join(f"{line}\n" for line in OURS[:10]).encode()
    before, after = (inside("decode", "-m", m, *NOTHING, stdin=stdin).lines for m in (model, slim))
    assert [line.split("\t")[0] for line in before] == [line.split("\t")[0] for line in after]
    alone = tmp_path / "one-column.txt"
    alone.write_text("ka mi\n")
    run = inside("convert", model, "--trim-vocabulary", alone, "-o", tmp_path / "n", status=3)
    assert "one-column.txt:1: 1 column, but column 2 is needed" in run.said
    assert "no text whose pieces could be kept" in run.said and not (tmp_path / "n").exists()


@pytest.mark.parametrize("arch", BACKBONES)
@torch.inference_mode()
def test_the_vectors_of_an_encoder_stay(arch, shared, corpus, tmp_path):
    heads = (HeadConfig(name="mlm", kind="mlm", n_outputs=shared.vocab_size),)
    heads = heads if arch == "bert" else ()
    # Rows beyond the tokenizer, as other projects have them, go.
    rows = shared.vocab_size + (5 if arch in ("bert", "gpt") else 0)
    untied = {"tied_output": False} if arch in ("bert", "gpt") else {}
    model = reader(tmp_path / "model", shared, arch, *heads, vocab_size=rows, **untied)
    slim, _ = trimmed(model, corpus)
    new = load_tokenizer(str(slim))
    kept = kept_ids(shared, new)
    both = []
    for place, tokenizer in ((model, shared), (slim, new)):
        config, loaded = load_model(place, CPU)
        ids = torch.tensor([tokenizer.encode([OURS[0]])[0]])
        mask = torch.ones_like(ids, dtype=torch.bool)
        both.append(loaded.backbone(ids, mask, torch.zeros_like(ids)))
        assert all(head.n_outputs in (shared.vocab_size, len(kept)) for head in config.heads)
        if arch == "bert":
            both.append(loaded.heads["mlm"](both[-1]) @ loaded.vocabulary_layer[0].T)
            both[-1] = both[-1] + loaded.vocabulary_layer[1]
        elif arch in ("gpt", "bilm"):
            weight, bias = loaded.backbone.output_layer
            hidden = both[-1][..., : weight.shape[1]]
            both.append(hidden @ weight.T + (0 if bias is None else bias))
    half = len(both) // 2
    torch.testing.assert_close(both[0], both[half], rtol=0, atol=1e-5)
    if half == 2:
        assert both[3].shape[-1] == len(kept) == read_config(slim).model.vocab_size
        torch.testing.assert_close(both[1][..., kept], both[3], rtol=0, atol=1e-5)


def test_a_classifier_answers_the_same(shared, corpus, tmp_path):
    head = HeadConfig(name="mood", kind="text", n_outputs=2, task="classify")
    model = reader(tmp_path / "model", shared, "bert", head)
    write_labels(model, ["bad", "good"])
    (model / "train.jsonl").write_text('{"step": 7, "dev_loss": 1.0}\n')
    slim, _ = trimmed(model, corpus)
    stdin = "".join(f"{line}\n" for line in OURS).encode()
    options = ("--scores", "--precision", "float32")
    before, after = (inside("decode", "-m", m, *options, stdin=stdin).lines for m in (model, slim))
    assert [line.split("\t")[0] for line in before] == [line.split("\t")[0] for line in after]
    described = inside("info", slim).out.decode()
    assert "step 7" in described and "note\tdrawn" in described  # what is known of it stays
    vectors = inside("embed", "-m", slim, "--format", "json", stdin=b"ka mi\n")
    assert vectors.out
    rows = "".join(f"{line}\tgood\n{line} ka\tbad\n" for line in OURS[:5])
    (tmp_path / "train.tsv").write_text(rows)
    started = ("--init", slim, "--task", "classify", "--max-steps", 1, "--device", "cpu")
    corpus_ = (tmp_path / "train.tsv", "--dev", tmp_path / "train.tsv")
    inside("finetune", *corpus_, *started, "-o", tmp_path / "tuned")


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_other_kinds_of_pieces(kind, corpus, tmp_path):
    tokenizer = tokenizer_of(OURS + OTHERS, kind, 260)
    model = translator(tmp_path / "model", tokenizer, tokenizer)
    packed = tmp_path / "pairs.tsv.gz"
    packed.write_bytes(gzip.compress(corpus.read_bytes()))
    slim, said = trimmed(model, packed)
    assert ": 0 of the first" in said
    new = load_tokenizer(str(slim))
    assert new.vocab_size < tokenizer.vocab_size and new.kind == kind
    mute(model, kept_ids(tokenizer, new))
    stdin = "".join(f"{line}\n" for line in OURS[:10]).encode()
    before, after = (inside("decode", "-m", m, *NOTHING, stdin=stdin).lines for m in (model, slim))
    assert [line.split("\t")[0] for line in before] == [line.split("\t")[0] for line in after]


def test_a_shortlist_keeps_what_is_left_of_it(shared, corpus, tmp_path):
    model = translator(tmp_path / "model", shared, shared)
    torch.manual_seed(1)
    size = shared.vocab_size
    by_token = torch.randint(-1, size, (size, 6))
    always = torch.tensor(sorted({shared.eos_id, *range(10, size, 9)}))
    CandidateTable(always, by_token).save(model, 5)
    slim, _ = trimmed(model, corpus)
    new = load_tokenizer(str(slim))
    table = CandidateTable.load(slim, new.vocab_size, new.vocab_size, new.eos_id)
    kept = kept_ids(shared, new).tolist()
    for index, old in enumerate(kept):
        ours = {kept[i] for i in table.candidates([index]).tolist()}
        theirs = CandidateTable(always, by_token).candidates([old])
        assert ours == set(theirs.tolist()) & set(kept)
    stdin = "".join(f"{line}\n" for line in OURS[:5]).encode()
    assert inside("decode", "-m", slim, "--shortlist", stdin=stdin).out
    said = inside("convert", model, "--tokenizer", slim, "-o", tmp_path / "new").said
    assert "its shortlist is of the old pieces: left out" in said
    assert not (tmp_path / "new" / "shortlist.safetensors").exists()


@pytest.mark.parametrize("precision", ["int8", "float16", "bfloat16"])
def test_weights_are_stored_as_they_were(precision, shared, corpus, tmp_path):
    model = translator(tmp_path / "model", shared, shared)
    narrow = tmp_path / "narrow"
    inside("convert", model, "--precision", precision, "-o", narrow)
    slim, _ = trimmed(narrow, corpus)
    assert Stored.read(slim).precision == precision
    kept = kept_ids(shared, load_tokenizer(str(slim)))
    before, after = (dict(load_model(m, CPU)[1].named_parameters()) for m in (narrow, slim))
    for name, weight in after.items():
        is_table = weight.shape != before[name].shape
        assert torch.equal(weight, before[name][kept] if is_table else before[name]), name
    note = Stored.read(slim).facts["note"]
    assert note.startswith("drawn") and note.count("int8") == (2 if precision == "int8" else 0)


def test_a_new_tokenizer(shared, tmp_path):
    model = translator(tmp_path / "model", shared, shared)
    new = tokenizer_of(OTHERS, "bpe", 120)
    (tmp_path / "new.model").write_bytes(new.to_bytes())
    target = tmp_path / "target"
    run = inside("convert", model, "--tokenizer", tmp_path / "new.model", "-o", target)
    assert f"{target}: {shared.vocab_size} pieces before, {new.vocab_size} after" in run.said
    assert load_tokenizer(str(target)).vocabulary == new.vocabulary
    before, after = (dict(load_model(m, CPU)[1].named_parameters()) for m in (model, target))
    same = made = 0
    for name in ("tgt_embedding.tokens.weight", "output_bias"):
        name = name if name in before else "src_embedding.tokens.weight"
        for index, piece in enumerate(new.vocabulary):
            row = after[name][index]
            if piece in shared.vocabulary:
                assert torch.equal(row, before[name][shared.vocabulary.index(piece)])
                same += 1
            elif piece.startswith("▁"):
                parts = shared.encode([piece[1:]])[0]
                torch.testing.assert_close(row, before[name][parts].mean(0))
                made += 1
    assert same > 40 and made > 10
    # Further pieces are cut into one that differs by its mark alone.
    (told,) = re.findall(r": (\d+) pieces have the vector of one that was there", run.said)
    assert same // 2 <= int(told) < new.vocab_size
    others = {n: w for n, w in after.items() if w.shape == before[n].shape}
    assert others and all(torch.equal(w, before[n]) for n, w in others.items())
    assert inside("decode", "-m", target, *NOTHING, stdin=b"ka mi\n").out


def test_the_same_tokenizer_changes_nothing(shared, tmp_path):
    other = tokenizer_of(OURS, "bpe", 90)
    model = translator(tmp_path / "model", shared, other)
    target = tmp_path / "target"
    inside("convert", model, "--tokenizer", model, "-o", target)
    before, after = (dict(load_model(m, CPU)[1].named_parameters()) for m in (model, target))
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())
    one = tmp_path / "one"
    said = inside("convert", model, "--tokenizer", model / "tokenizer.model", "-o", one).said
    assert f"{one}, source: {shared.vocab_size} pieces before, {other.vocab_size} after" in said
    assert inside("decode", "-m", one, *NOTHING, stdin=b"ka mi\n").out
    assert not (one / "src.tokenizer.model").exists()


def test_what_has_no_such_vocabulary_is_refused(shared, corpus, tmp_path):
    def refused(model: Path, *options: object, status: int = 3) -> str:
        run = inside("convert", model, *options, "-o", tmp_path / "n", status=status)
        assert not (tmp_path / "n").exists() and not run.out
        return run.said

    nodes = write_nodes(tmp_path / "nodes", tmp_path / "graph")
    trim = ("--trim-vocabulary", corpus)
    assert "a 'gat' reads no text" in refused(nodes, *trim)
    words = tokenizer_of(OURS, "word", 60)
    assert "kind word can't be trimmed" in refused(translator(tmp_path / "w", words, words), *trim)
    model = translator(tmp_path / "model", shared, shared)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    assert "no text whose pieces could be kept" in refused(model, "--trim-vocabulary", empty)
    missing = ("--trim-vocabulary", tmp_path / "missing")
    assert "missing: No such file" in refused(model, *missing, status=2)
    assert "--precision and --trim-vocabulary: one after the other" in refused(
        model, *trim, "--precision", "int8", status=2
    )
    apart = translator(tmp_path / "apart", shared, tokenizer_of(OURS, "bpe", 90))
    assert "has one vocabulary for both" in refused(model, "--tokenizer", apart)
    assert "no such" in refused(model, "--tokenizer", tmp_path / "none", status=2).lower()
    bare = tmp_path / "bert"
    reader(bare, shared, "bert")
    json = tmp_path / "tokenizer.json"
    json.write_bytes(_without_cls())
    assert "no token for cls" in refused(bare, "--tokenizer", json)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text('{"model_type": "gpt2"}')
    assert "make it one of attn first" in refused(theirs, *trim, status=2)
    said = refused(model, "--to", "huggingface", *trim, status=2)
    assert "--trim-vocabulary: --to huggingface has no use for it here" in said
    assert "choose another -o" in inside("convert", model, *trim, "-o", model, status=2).said


def _without_cls() -> bytes:
    from tokenizers import Tokenizer as Engine
    from tokenizers import models

    pieces = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3, "ka": 4}
    return Engine(models.WordLevel(pieces, unk_token="<unk>")).to_str().encode()


def test_lines_that_cannot_be_used_are_named_and_left_out(shared, tmp_path):
    model = translator(tmp_path / "model", shared, shared)
    bad = tmp_path / "bad.txt"
    bad.write_bytes(f"{OURS[0]}\n\xff\n".encode("latin-1") + OURS[1].encode())
    run = inside("convert", model, "--trim-vocabulary", bad, "-o", tmp_path / "n")
    assert "bad.txt:2: not UTF-8" in run.said and "left out" in run.said
    known = dataclasses.asdict(read_config(tmp_path / "n").model)
    assert known["src_vocab"] == known["tgt_vocab"] < shared.vocab_size


def test_quiet_says_nothing_of_sizes(shared, corpus, tmp_path):
    model = translator(tmp_path / "model", shared, shared)
    run = inside("convert", model, "--trim-vocabulary", corpus, "-o", tmp_path / "n", "--quiet")
    assert run.said == "" and run.lines == [str(tmp_path / "n")]
