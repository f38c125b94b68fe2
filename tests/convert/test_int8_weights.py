from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from drawn_models import write_language_model, write_nodes, write_reader, write_translator
from program import inside

from attn_cli.device import use_int8
from attn_cli.errors import UsageError
from attn_cli.models.directory import WEIGHTS, load_model, note_of
from attn_cli.models.storage import SCALE, load_tensors, save_tensors
from attn_cli.nn import prepared
from attn_cli.nn.int8 import quantize
from attn_cli.systems.base import load_generator
from attn_cli.systems.generation.generator import Source

CPU = torch.device("cpu")
WIDE = {"d_model": 128, "d_ff": 256, "n_heads": 4}
LINES = b"the cat sat\n\na dog ran to the mat\n"


def narrowed(place: Path) -> Path:
    target = place.with_name(f"{place.name}-int8")
    written = inside("convert", place, "--precision", "int8", "-o", target)
    assert written.out.decode().strip() == str(target)
    return target


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Path:
    return write_translator(tmp_path_factory.mktemp("models") / "translator", **WIDE)


@pytest.fixture(scope="module")
def stored(translator) -> Path:
    return narrowed(translator)


@pytest.fixture
def precisions(monkeypatch) -> list[bool]:
    """Whether products were made in int8, each time that some could be; the clock is not asked."""
    asked: list[bool] = []

    def product(weight, bias):
        asked.append(True)
        plain = torch.nn.functional.linear
        return lambda x, relu: plain(x, weight, bias).clamp(min=0 if relu else -torch.inf)

    monkeypatch.setattr(prepared, "int8_product", product)
    return asked


def test_a_model_in_int8_is_a_quarter_as_large_and_has_its_rows_rounded(translator, stored):
    assert (stored / WEIGHTS).stat().st_size < 0.3 * (translator / WEIGHTS).stat().st_size
    tensors, _ = load_tensors(stored / WEIGHTS)
    original = load_tensors(translator / WEIGHTS)[0]
    _, model = load_model(stored, CPU)
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            assert torch.equal(weight, original[name])
            continue
        values, scale = tensors[name], tensors[name + SCALE]
        assert values.dtype == torch.int8
        assert torch.equal(weight, values.float() * scale[..., None])
        off = (weight - original[name]).abs()
        assert (off <= original[name].abs().amax(-1, keepdim=True) / 253).all()
        assert torch.equal(quantize(weight)[0], values)  # what decode computes with
    same = {file.name for file in translator.iterdir()} - {WEIGHTS}
    assert {file.name for file in stored.iterdir()} == {*same, WEIGHTS}
    assert all((stored / name).read_bytes() == (translator / name).read_bytes() for name in same)


@pytest.mark.parametrize(
    ("options", "int8"),
    [((), True), (("--precision", "int8"), True), (("--precision", "float32"), False)],
    ids=str,
)
def test_decode_computes_as_weights_are_stored_unless_told_otherwise(
    options, int8, stored, precisions
):
    found = inside("decode", "-m", stored, "--beam", 2, *options, stdin=LINES)
    assert bool(precisions) is int8
    assert found.out.count(b"\n") == 3
    assert f"{stored}: its weights are stored in int8" in found.said


def test_models_in_float32_compute_in_it_unless_told_otherwise(translator, precisions):
    plain = inside("decode", "-m", translator, "--scores", stdin=LINES)
    assert not precisions and "int8" not in plain.said
    # the products of this test are those of float32
    asked = inside("decode", "-m", translator, "--scores", "--precision", "int8", stdin=LINES)
    assert precisions and [line.split(b"\t")[0] for line in asked.out.splitlines()] == [
        line.split(b"\t")[0] for line in plain.out.splitlines()
    ]


def test_every_model_that_decodes_computes_in_int8(tmp_path, precisions):
    sizes = WIDE | {"n_layers": 2}
    models = [
        write_language_model(tmp_path / "gpt", **sizes),
        write_reader(tmp_path / "bert", "bert", **sizes),
    ]
    for place in models:
        for each in (place, narrowed(place)):
            precisions.clear()
            given = () if each != place else ("--precision", "int8")
            found = inside("decode", "-m", each, *given, stdin=b"the cat\na dog\n")
            assert precisions and found.out.count(b"\n") == 2, each
    labels = (tmp_path / "bert-int8" / "labels.txt").read_text()
    assert labels == (tmp_path / "bert" / "labels.txt").read_text()


@torch.inference_mode()
def test_real_products_give_nearly_the_same_probabilities(translator, monkeypatch):
    monkeypatch.setattr("attn_cli.nn.int8._pays", lambda outputs, inputs: True)
    found = []
    for precision in ("float32", "int8"):
        generator = load_generator(str(translator), CPU, precision=precision)
        (model,) = generator.models
        src = generator.encoded([Source("the cat sat on the mat"), Source("a dog")])
        found.append(generator.token_log_probs(model, src, [[5, 6, 7], [8, 9]]))
    assert not torch.equal(*found)
    assert (found[0] - found[1]).abs().mean() < 0.1 * found[0].abs().mean()


def test_where_int8_is_not_faster_decode_says_so(translator, monkeypatch):
    monkeypatch.setattr(prepared, "int8_product", lambda weight, bias: None)
    plain = inside("decode", "-m", translator, stdin=LINES)
    found = inside("decode", "-m", translator, "--precision", "int8", stdin=LINES)
    assert found.out == plain.out
    assert "no product of it is faster in int8" in found.said


def test_other_commands_read_such_weights_in_float32(translator, stored, tmp_path):
    pairs = b"the cat\ta dog\n"
    both = [
        float(inside("score", "--log-prob", "-m", place, stdin=pairs).out)
        for place in (translator, stored)
    ]
    assert both[0] != both[1] and both[0] == pytest.approx(both[1], rel=0.05)
    narrow = narrowed(write_reader(tmp_path / "bert", "bert", **WIDE, n_layers=2))
    assert inside("embed", "-m", narrow, "--format", "json", stdin=b"the cat\n").out
    inside("convert", narrow, "--to", "huggingface", "-o", tmp_path / "theirs")
    theirs = safetensors.torch.load_file(tmp_path / "theirs" / "model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in theirs.values())


def test_a_model_of_nodes_is_stored_in_int8_too(tmp_path):
    model = write_nodes(tmp_path / "nodes", tmp_path / "graph")
    load_model(narrowed(model), CPU)


def test_what_a_user_must_know_of_a_model_is_kept(tmp_path):
    place = write_translator(tmp_path / "young")
    tensors, _ = load_tensors(place / WEIGHTS)
    save_tensors(place / WEIGHTS, tensors, {"note": "trained for a minute"})
    assert note_of(narrowed(place)).startswith("trained for a minute; its weights are stored")


def test_what_has_int8_weights_and_other_projects_models_are_refused(stored, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text('{"model_type": "gpt2"}')
    for folder, status, cause in (
        (stored, 3, "stored in int8"),
        (theirs, 2, "make it one of attn first"),
    ):
        options = ("--precision", "int8", "-o", tmp_path / "new")
        assert cause in inside("convert", folder, *options, status=status).said
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda found, name: found.pop(name + SCALE), "is missing"),
        (lambda found, name: found.update({name + SCALE: torch.ones(3)}), "has shape (3,)"),
        (lambda found, name: found[name + SCALE].fill_(torch.nan), "not finite"),
        (lambda found, name: found.update({name: found[name].float()}), "unexpected tensor"),
        (lambda found, name: found.update({name: found[name].short()}), "malformed header entry"),
        (
            lambda found, name: found.update({"output_bias": torch.ones(290, dtype=torch.int8)}),
            "type I8",
        ),
    ],
    ids=["no scales", "few scales", "no number", "no int8", "16 bits", "a bias"],
)
def test_damaged_weights_are_refused(change, cause, stored, tmp_path):
    place = tmp_path / "damaged"
    place.mkdir()
    for file in stored.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    tensors, meta = load_tensors(place / WEIGHTS)
    change(tensors, "encoder.layers.0.self_attention.out_proj.weight")
    save_tensors(place / WEIGHTS, tensors, meta)
    found = inside("decode", "-m", place, stdin=LINES, status=3)
    assert WEIGHTS in found.said and cause in found.said and not found.out


def test_search_and_given_texts_have_one_probability_in_int8(translator, monkeypatch):
    """Tokens of another segmentation are scored once more: by the same products."""
    monkeypatch.setattr("attn_cli.nn.int8._pays", lambda outputs, inputs: True)
    found = []

    def spy(hidden, gold, logits, n_tokens):
        found.append(logits.__self__.prepared.is_int8)
        return torch.zeros(gold.shape)

    monkeypatch.setattr("attn_cli.systems.translation.translator.gold_log_probs", spy)
    inside(
        *("decode", "-m", translator, "--precision", "int8", "--scores", "--max-len", 1),
        stdin=b"the cat\n",
    )
    assert found == [True]


def test_int8_is_refused_on_a_gpu():
    with pytest.raises(UsageError, match="--device cpu"):
        use_int8("int8", torch.device("cuda", 0), stored=False)
    assert not use_int8("auto", torch.device("cuda", 0), stored=True)
