"""Vectors of lines: transformers' hidden states, pooled by hand, are the oracle."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from program import ENVIRONMENT, attn, forked_command, inside
from tiny_models import save_bert, save_gpt

from attn_cli.config.embedding import EmbedOptions
from attn_cli.data.templates import owned_spans, widest_context, windows_of
from attn_cli.embed.embedder import Embedder
from attn_cli.embed.encoder import TokenEncoder
from attn_cli.embed.npy import NpyWriter
from attn_cli.errors import AttnError
from attn_cli.models.directory import load_model
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, read_tokenizers
from attn_cli.tokenizers.words import encode_words

CPU = torch.device("cpu")
LINES = ["the cat sat on the mat", "he", "that dog ran unknowning , and it sat .", "the mat ?"]


class Reference:
    """A model of the transformers library, and a directory of ours that was converted from it."""

    def __init__(self, place: Path, kind: str) -> None:
        save = {"bert": save_bert, "gpt": save_gpt}[kind]
        layers = {"bert": "num_hidden_layers", "gpt": "n_layer"}[kind]
        name = {"bert": "BertModel", "gpt": "GPT2Model"}[kind]
        self.model = save(place / "hf", name, **{layers: 4})
        self.path = place / "ours"
        inside("convert", place / "hf", "-o", self.path)
        self.tokenizer = load_tokenizer(str(self.path))

    def layers(self, ids: list[int]) -> np.ndarray:
        """The embeddings and four layers. Shape: (5, T, D)."""
        with torch.no_grad():
            states = self.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        return torch.cat(states).numpy()

    def input_ids(self, text: str) -> list[int]:
        begin, end = self.tokenizer.bos_id, self.tokenizer.eos_id
        return [begin, *self.tokenizer.encode([text])[0], end]


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Reference:
    return Reference(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture(scope="module")
def gpt(tmp_path_factory) -> Reference:
    return Reference(tmp_path_factory.mktemp("gpt"), "gpt")


def embed(model: Path, lines: list[str], *options: object) -> list[dict]:
    text = "".join(f"{line}\n" for line in lines).encode()
    run = inside("embed", "-m", model, "--threads", 1, "--device", "cpu", *options, stdin=text)
    return [json.loads(line) if line else {} for line in run.lines]


def close(found, wanted) -> None:
    np.testing.assert_allclose(np.array(found), wanted, atol=2e-5, rtol=1e-4)


POOLS = {"mean": lambda x: x.mean(-2), "max": lambda x: x.max(-2), "cls": lambda x: x[..., 0, :]}
LAYERS = {
    "-1": lambda x: x[4],
    "0": lambda x: x[0],
    "2": lambda x: x[2],
    "-2": lambda x: x[3],
    "sum4": lambda x: x[1:].sum(0),
    "concat4": lambda x: np.concatenate(list(x[1:]), -1),
    "all": lambda x: x,
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pool", POOLS)
def test_one_vector_a_line_is_the_pooled_layer(bert, layer, pool):
    found = embed(bert.path, LINES, "--layer", layer, "--pool", pool)
    assert [answer["line"] for answer in found] == [1, 2, 3, 4]
    for answer, text in zip(found, LINES, strict=True):
        close(answer["vector"], POOLS[pool](LAYERS[layer](bert.layers(bert.input_ids(text)))))


def test_a_vector_for_each_token_without_the_marks(bert):
    for answer, text in zip(embed(bert.path, LINES, "--pool", "none"), LINES, strict=True):
        ids = bert.input_ids(text)
        assert answer["units"] == bert.tokenizer.pieces(ids)[1:-1]
        close(answer["vectors"], bert.layers(ids)[4, 1:-1])


def test_a_vector_for_each_word_is_the_mean_of_its_tokens(bert):
    (answer,) = embed(bert.path, ["he ran unknowning , and  sat"], "--words", "--layer", "all")
    assert answer["units"] == ["he", "ran", "unknowning", ",", "and", "sat"]
    ids = bert.input_ids("he ran unknowning , and sat")
    assert bert.tokenizer.pieces(ids)[3:6] == ["un", "##known", "##ing"]
    states = bert.layers(ids)
    wanted = [states[:, 1], states[:, 2], states[:, 3:6].mean(1), *states[:, 6:9].swapaxes(0, 1)]
    close(answer["vectors"], np.stack(wanted))


def test_a_language_model_reads_marks_and_pools_without_them(gpt):
    for pool, pooled in [
        ("none", lambda x: x[1:-1]),
        ("mean", lambda x: x[1:-1].mean(0)),
        ("max", lambda x: x[1:-1].max(0)),
        ("cls", lambda x: x[-1]),
    ]:
        for answer, text in zip(embed(gpt.path, LINES, "--pool", pool), LINES, strict=True):
            found = answer.get("vector", answer.get("vectors"))
            close(found, pooled(gpt.layers(gpt.input_ids(text))[4]))


def test_words_have_the_tokens_that_they_have_in_the_text(bert, gpt):
    words = ["the", "cat", "unseen", "é", "x-y"]
    for model in (bert, gpt):
        (cut,) = encode_words(model.tokenizer, [words])
        whole = model.tokenizer.encode([" ".join(words)])[0]
        assert [index for ids in cut for index in ids] == whole
    assert encode_words(bert.tokenizer, [["\x07"]]) == [[[bert.tokenizer.unk_id]]]


def test_normalized_vectors_have_length_one(bert):
    plain = embed(bert.path, LINES, "--layer", "all")
    scaled = embed(bert.path, LINES, "--layer", "all", "--normalize")
    for one, other in zip(plain, scaled, strict=True):
        vectors = np.array(one["vector"])
        close(other["vector"], vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


@pytest.mark.parametrize("stride", [None, 7, 30])
def test_nothing_of_a_line_twenty_times_too_long_is_cut(bert, stride):
    text = " ".join(["the cat sat on a mat that he ran to and it"] * 60)
    ids = bert.tokenizer.encode([text])[0]
    assert len(ids) > 20 * 30
    options = ["--stride", stride] if stride else []
    (tokens,) = embed(bert.path, [text], "--pool", "none", *options)
    (mean,) = embed(bert.path, [text], *options)
    (largest,) = embed(bert.path, [text], "--pool", "max", *options)
    windows = windows_of(len(ids), 30, stride or 15)
    states = [
        bert.layers([bert.tokenizer.cls_id, *ids[first:end], bert.tokenizer.sep_id])[4]
        for first, end in windows
    ]
    wanted = []
    for position in range(len(ids)):
        window = widest_context(windows, position)
        wanted.append(states[window][1 + position - windows[window][0]])
    marks = np.mean([[state[0], state[-1]] for state in states], 0)
    close(tokens["vectors"], np.array(wanted))
    close(mean["vector"], np.concatenate((wanted, marks)).mean(0))
    close(largest["vector"], np.concatenate((wanted, marks)).max(0))


@settings(deadline=None)
@given(length=st.integers(1, 80), room=st.integers(1, 20), data=st.data())
def test_each_position_belongs_to_the_window_of_widest_context(length, room, data):
    windows = windows_of(length, room, data.draw(st.integers(1, room)))
    owner = [
        number
        for number, (first, end) in enumerate(owned_spans(windows))
        for _ in range(first, end)
    ]
    assert owner == [widest_context(windows, position) for position in range(length)]


def test_batches_and_windows_change_nothing_but_the_last_bits(bert, tmp_path):
    lines = [line for number in range(20) for line in (LINES[number % 4], "the " * (number * 3))]
    whole = embed(bert.path, lines, "--batch-tokens", 100000)
    pieces = embed(bert.path, lines, "--batch-tokens", 1, "--buffer", 3)
    for one, other in zip(whole, pieces, strict=True):
        assert one.keys() == other.keys()
        if one:
            close(one["vector"], other["vector"])
            assert one["line"] == other["line"]


def test_the_stream_contract(bert):
    text = b"\xef\xbb\xbfthe cat\tx\ty\r\n\nthe \xff\n \nhe ran\n"
    run = attn("embed", "-m", bert.path, "--threads", 1, stdin=text, status=3)
    answers = [json.loads(line) if line else None for line in run.lines]
    assert [bool(answer) for answer in answers] == [True, False, False, False, True]
    assert answers[0]["columns"] == ["x", "y"] and answers[4]["columns"] == []
    assert "standard input:3: not UTF-8 at byte 5" in run.said
    assert "1 unusable line" in run.said
    skipped = inside("embed", "-m", bert.path, "--threads", 1, "--skip-bad", stdin=text)
    assert skipped.lines == run.lines
    close(answers[0]["vector"], bert.layers(bert.input_ids("the cat"))[4].mean(0))


def test_columns_are_picked_by_name(bert):
    found = embed(bert.path, ["id\ttext", "7\tthe cat", "8"], "--columns", "text", "--skip-bad")
    assert [answer.get("columns") for answer in found] == [["7"], None]
    assert found[0]["vector"] == embed(bert.path, ["the cat"])[0]["vector"]
    assert found[0]["line"] == 2


def test_an_array_has_a_row_for_each_line(bert, tmp_path):
    lines = [LINES[0], "", *LINES[1:]]
    answers = embed(bert.path, lines)
    file = tmp_path / "vectors.npy"
    text = "".join(f"{line}\n" for line in lines).encode()
    options = ("-m", bert.path, "--threads", 1, "--buffer", 2)
    run = inside("embed", *options, "-o", file, stdin=text)
    assert run.out == b""
    array = np.load(file, allow_pickle=False)
    assert array.shape == (5, 24) and array.dtype == np.float32
    assert np.isnan(array[1]).all()
    for row, answer in zip(np.delete(array, 1, 0), answers[:1] + answers[2:], strict=True):
        close(answer["vector"], row)
    layered = inside("embed", *options, "--layer", "all", "--format", "npy", "-o", file, stdin=text)
    assert layered.out == b"" and np.load(file).shape == (5, 5, 24)
    inside("embed", *options, "--format", "npy", "-o", file, stdin=b"")
    assert np.load(file).shape == (0, 24)
    bad = inside(
        *("embed", *options, "--format", "npy", "-o", file), stdin=b"a\xff\nhe\n", status=3
    )
    assert "row of NaN" in bad.said
    assert np.isnan(np.load(file)).all(1).tolist() == [True, False]
    assert [entry.name for entry in tmp_path.iterdir()] == ["vectors.npy"]


def test_json_gives_every_float_back(bert, tmp_path):
    file = tmp_path / "vectors.npy"
    text = f"{LINES[0]}\n".encode()
    inside("embed", "-m", bert.path, "--threads", 1, "--format", "npy", "-o", file, stdin=text)
    (answer,) = embed(bert.path, LINES[:1])
    assert np.array(answer["vector"], np.float32).tobytes() == np.load(file)[0].tobytes()


def test_a_failure_leaves_the_old_array(tmp_path):
    file = tmp_path / "vectors.npy"
    with NpyWriter(file, (2,)) as out:
        out.write(np.ones(2, np.float32))
    with pytest.raises(KeyError), NpyWriter(file, (2,)) as out:
        out.write(np.zeros(2, np.float32))
        raise KeyError
    assert np.load(file).tolist() == [[1.0, 1.0]]
    assert [entry.name for entry in tmp_path.iterdir()] == ["vectors.npy"]
    with pytest.raises(AttnError, match="not a file"):
        NpyWriter(tmp_path, (2,))
    with pytest.raises(AttnError, match="nowhere"), NpyWriter(tmp_path / "nowhere" / "x", (2,)):
        pass


def test_a_slow_producer_gets_each_answer_at_once(bert):
    command = [*forked_command(), "embed", "-m", str(bert.path), "--threads", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        for number in (1, 2):
            process.stdin.write(b"the cat\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["line"] == number
        process.stdin.close()
        assert process.wait(60) == 0


def test_the_encoder_of_a_translator_gives_vectors(reversal_model):
    config, model = load_model(reversal_model, CPU)
    tokenizer, _ = read_tokenizers(reversal_model)
    ids = torch.tensor([[*tokenizer.encode(["banu kera"])[0], tokenizer.eos_id]])
    with torch.no_grad():
        memory = model.encode(ids, torch.ones_like(ids, dtype=torch.bool))[0].numpy()
    (tokens,) = embed(reversal_model, ["banu kera"], "--pool", "none")
    close(tokens["vectors"], memory[:-1])
    (whole,) = embed(reversal_model, ["banu kera"], "--pool", "cls")
    close(whole["vector"], memory[-1])


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--layer", "5"), "layers 0 (embeddings) to 4"),
        (("--layer", "-6"), "layers 0 (embeddings) to 4"),
        (("--layer", "last"), "a number, all, sum4 or concat4"),
        (("--layer", "9" * 5000), "a number, all, sum4 or concat4"),
        (("--pool", "men"), "did you mean mean?"),
        (("--words", "--pool", "mean"), "a vector a word"),
        (("--format", "npy"), "go together"),
        (("-o", "x.txt"), "is no .npy"),
        (("--format", "json", "-o", "x.npy"), "go together"),
        (("--format", "npy", "-o", "x.npy", "--pool", "none"), "one row a line"),
        (("--stride", "31"), "a longer stride would skip"),
    ],
)
def test_wrong_usage_is_named(bert, options, cause):
    run = inside("embed", "-m", bert.path, "--threads", 1, *options, stdin=b"he\n", status=2)
    assert cause in run.said and run.out == b""


def test_last_four_layers_need_four(tmp_path):
    save_bert(tmp_path / "hf")
    inside("convert", tmp_path / "hf", "-o", tmp_path / "ours")
    run = inside("embed", "-m", tmp_path / "ours", "--layer", "sum4", stdin=b"he\n", status=2)
    assert "2 layers, not four" in run.said


def test_pooling_keeps_no_batch_alive(bert):
    """The memory of a window is that of its pooled vectors, not of its batches."""
    embedder = Embedder(TokenEncoder.load(str(bert.path), CPU), EmbedOptions(layer="all"))
    (one, _) = embedder.embed(["the cat sat", "he ran to the mat"])
    assert one.vectors.nbytes == 5 * 24 * 4
    assert one.vectors.base is None or one.vectors.base.nbytes <= 5 * 24 * 4
