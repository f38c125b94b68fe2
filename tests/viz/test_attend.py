"""`attn attend` against the weights that the models give, and as a program in pipes."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_models import table, tokens, write_nodes, write_reader, write_translator
from program import ENVIRONMENT, attn, forked_command, inside

from attn_cli.models.directory import load_model
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.viz.maps import AttentionMap, Axis, token_axis

CPU = torch.device("cpu")
PAIR = "the cat sat on\tкот и пёс"


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Path:
    return write_translator(tmp_path_factory.mktemp("attend") / "model")


def attend(model: Path, lines: str | bytes, *options: object, status: int = 0):
    raw = (
        lines if isinstance(lines, bytes) else "".join(f"{x}\n" for x in lines.split("|")).encode()
    )
    quick = ("--threads", 1, "--device", "cpu")
    return inside("attend", "-m", model, *quick, *options, stdin=raw, status=status)


def explicit(model: Path, src: str, tgt: str) -> dict[str, list[np.ndarray]]:
    """Every layer's weights of one pair, by the model itself: (H, T, S) each."""
    tokenizer = load_tokenizer(str(model))
    src_ids = torch.tensor([[*tokenizer.encode([src])[0], tokenizer.eos_id]])
    tgt_in = torch.tensor([[tokenizer.bos_id, *tokenizer.encode([tgt])[0]]])
    with torch.no_grad():
        _, maps = load_model(model, CPU)[1].attentions(src_ids, src_ids >= 0, tgt_in)
    return {kind: [layer[0].numpy() for layer in layers] for kind, layers in vars(maps).items()}


def matrix(weights: dict[tuple[int, int], float]) -> np.ndarray:
    found = np.zeros((1 + max(row for row, _ in weights), 1 + max(col for _, col in weights)))
    for place, weight in weights.items():
        found[place] = weight
    return found


@pytest.mark.parametrize(("kind", "n_layers"), [("cross", 2), ("encoder", 3), ("decoder", 2)])
def test_numbers_of_a_forced_pair_are_the_explicit_weights(translator, kind, n_layers):
    run = attend(translator, PAIR, "--pairs", "--kind", kind, "--layer", "all", "--head", "all")
    found = table(run.lines)
    wanted = explicit(translator, *PAIR.split("\t"))[kind]
    assert set(found) == {("1", str(n + 1), str(h)) for n in range(n_layers) for h in (1, 2)}
    for layer, weights in enumerate(wanted):
        for head in (0, 1):
            own = matrix(found["1", str(layer + 1), str(head + 1)])
            np.testing.assert_allclose(own, weights[head], atol=1e-6)
            np.testing.assert_allclose(own.sum(1), 1, atol=1e-4)


def test_the_mean_of_the_last_layer_is_what_nothing_asks_for(translator):
    found = table(attend(translator, PAIR, "--pairs").lines)
    wanted = explicit(translator, *PAIR.split("\t"))["cross"][-1].mean(0)
    assert set(found) == {("1", "2", "mean")}
    np.testing.assert_allclose(matrix(found["1", "2", "mean"]), wanted, atol=1e-6)
    first = table(attend(translator, PAIR, "--pairs", "--layer", -2, "--head", 2).lines)
    wanted = explicit(translator, *PAIR.split("\t"))["cross"][0][1]
    np.testing.assert_allclose(matrix(first["1", "1", "2"]), wanted, atol=1e-6)


def test_without_pairs_the_rows_are_the_tokens_of_the_decoded_line(translator):
    text = "a dog ran|the cat"
    lines = attend(translator, text, "--beam", 2).lines
    decoded = inside(
        *("decode", "-m", translator, "--beam", 2, "--threads", 1, "--device", "cpu"),
        stdin=text.replace("|", "\n").encode(),
    ).lines
    tokenizer = load_tokenizer(str(translator))
    for number, output in enumerate(decoded, 1):
        rows = tokens(lines, str(number), 4)
        assert rows[-1] == "</s>"
        (back,) = tokenizer.decode([tokenizer.piece_ids(rows[:-1])])
        assert back.replace("\t", " ").replace("\n", " ").replace("\r", " ") == output
        columns = tokens(lines, str(number), 6)
        assert columns == [
            *tokenizer.pieces(tokenizer.encode([text.split("|")[number - 1]])[0]),
            "</s>",
        ]


def test_words_add_what_their_tokens_get_and_average_what_they_give():
    rng = np.random.default_rng(2)
    weights = rng.dirichlet(np.ones(5), size=(3, 4)).astype(np.float32)  # (H, T, S)
    rows = Axis(("a", "b", "c", "d"), (("ab", 2), ("c", 1), ("d", 1)))
    columns = Axis(("e", "f", "g", "h", "i"), (("e", 1), ("fgh", 3), ("i", 1)))
    merged = AttentionMap("self", (weights,), rows, columns).by_word()
    spans = [(0, 1), (1, 4), (4, 5)]
    for head in range(3):
        for i, (top, bottom) in enumerate([(0, 2), (2, 3), (3, 4)]):
            for j, (left, right) in enumerate(spans):
                cells = [sum(weights[head, t, left:right]) for t in range(top, bottom)]
                assert merged.layers[0][head, i, j] == pytest.approx(sum(cells) / len(cells))
    assert merged.rows.labels == ("ab", "c", "d")
    np.testing.assert_allclose(merged.layers[0].sum(2), 1, atol=1e-5)


def test_tokens_know_their_words_and_marks_stand_alone(translator):
    tokenizer = load_tokenizer(str(translator))
    text = "the dog שלום 中"
    ids = [tokenizer.bos_id, *tokenizer.encode([text])[0], tokenizer.eos_id]
    axis = token_axis(tokenizer, ids)
    assert axis.by_word.labels == ("<s>", "the", "dog", "שלום", "中", "</s>")
    assert sum(size for _, size in axis.words or ()) == len(ids) == len(axis.labels)


def test_words_of_a_line(translator):
    run = attend(translator, PAIR, "--pairs", "--words")
    assert tokens(run.lines, "1", 4) == ["кот", "и", "пёс", "</s>"]
    assert tokens(run.lines, "1", 6) == ["the", "cat", "sat", "on", "</s>"]
    np.testing.assert_allclose(matrix(table(run.lines)["1", "2", "mean"]).sum(1), 1, atol=1e-4)


def test_every_line_is_answered_in_order(translator):
    lines = b"the cat\n\n \nbad \xff\nthe mat\textra\n"
    run = attend(translator, lines, "--beam", 1, status=3)
    numbers = [line.split("\t")[0] for line in run.lines]
    assert list(dict.fromkeys(numbers)) == ["1", "", "5"]
    assert numbers.count("") == 3
    assert "standard input:4: not UTF-8" in run.said
    accepted = attend(translator, lines, "--beam", 1, "--skip-bad")
    assert accepted.out == run.out


def test_columns_are_picked_by_header(translator):
    lines = "id|tgt|src".replace("|", "\t") + "|1\tкот\tthe cat"
    named = attend(translator, lines, "--pairs", "--columns", "src,tgt").lines
    assert [line.split("\t", 1)[1] for line in named] == [
        line.split("\t", 1)[1] for line in attend(translator, "the cat\tкот", "--pairs").lines
    ]
    assert {line.split("\t")[0] for line in named} == {"2"}


def test_long_lines_are_drawn_in_parts_and_long_pairs_refused(translator):
    long = " ".join(["the cat sat."] * 8)
    run = attend(translator, long, "--beam", 1, "--max-input", 12)
    assert "standard input:1: long line, drawn in" in run.said
    rows, columns = (tokens(run.lines, "1", field) for field in (4, 6))
    assert columns.count("</s>") == rows.count("</s>") > 1
    refused = attend(translator, f"{long}\tкот|a\tи", "--pairs", "--max-input", 12, status=3)
    assert "more than 12; --max-input allows more" in refused.said
    assert refused.lines[0] == "" and refused.lines[1].startswith("2\t")


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--kind", "decodr"), "did you mean decoder?"),
        (("--layer", "3"), "layers 1 to 2"),
        (("--layer", "0"), "layers 1 to 2"),
        (("--layer", "first"), "a number, or all"),
        (("--head", "3"), "heads 1 to 2"),
        (("--head", "x"), "a number, mean or all"),
        (("-o", "picture.jpg"), ".png, .svg, .pdf, .html"),
        (("-o", "page.html", "--format", "tsv"), "leave out --format tsv"),
        (("--task", "mood"), "no model of several tasks"),
    ],
)
def test_what_a_model_does_not_have_is_wrong_usage(translator, options, cause):
    assert cause in attend(translator, "the cat", *options, status=2).said


@pytest.mark.parametrize(("arch", "n_layers"), [("recurrent", 1), ("convolutional", 2)])
def test_every_translator_is_drawn(tmp_path, arch, n_layers):
    model = write_translator(tmp_path / "model", arch)
    found = table(attend(model, PAIR, "--pairs", "--layer", "all", "--head", "all").lines)
    wanted = explicit(model, *PAIR.split("\t"))["cross"]
    assert set(found) == {("1", str(layer + 1), "1") for layer in range(n_layers)}
    for layer, weights in enumerate(wanted):
        own = matrix(found["1", str(layer + 1), "1"])
        np.testing.assert_allclose(own, weights[0], atol=1e-6)
        np.testing.assert_allclose(own.sum(1), 1, atol=1e-4)
    assert attend(model, "the cat", "--beam", 1).lines


def test_a_translator_without_attention_is_refused(tmp_path):
    model = write_translator(tmp_path / "model", "recurrent", attention="none")
    assert "no attention to draw" in attend(model, "the cat", status=3).said


def test_a_document_has_weights_of_its_words_and_of_its_sentences(tmp_path):
    model = write_reader(tmp_path / "model", "han", d_embedding=8)
    document = "The cat sat. A dog ran to the cat! On."
    words = attend(model, document, "--kind", "word")
    labels = tokens(words.lines, "1", 6)
    tokenizer = load_tokenizer(str(model))
    cut = ["The cat sat.", "A dog ran to the cat!", "On."]
    assert labels == [piece for ids in tokenizer.encode(cut) for piece in tokenizer.pieces(ids)]
    assert set(tokens(words.lines, "1", 4)) == {"text"}
    sums: dict[int, float] = {}
    for (row, _), weight in table(words.lines)["1", "1", "mean"].items():
        sums[row] = sums.get(row, 0.0) + weight
    assert list(sums.values()) == pytest.approx([1, 1, 1], abs=1e-4)
    sentences = attend(model, document, "--kind", "sentence").lines
    assert tokens(sentences, "1", 6) == cut
    ((_, weights),) = table(sentences).items()
    assert sum(weights.values()) == pytest.approx(1, abs=1e-4)
    backbone = load_model(model, CPU)[1].backbone
    vectors = []
    with torch.no_grad():
        for ids in tokenizer.encode(cut):  # a sentence alone, without padding
            hidden = backbone(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
            vectors.append(backbone.pool(hidden, torch.ones(1, len(ids), dtype=torch.bool)))
        hidden = backbone.sentences(torch.stack(vectors, 1), torch.ones(1, 3, dtype=torch.bool))[0]
        pool = backbone.sentence_pool
        scores = torch.tanh(pool.attention.score.project(hidden)) @ pool.query
    np.testing.assert_allclose([*weights.values()], scores.softmax(-1)[0].numpy(), atol=1e-5)


def test_a_recurrent_classifier_shows_the_words_of_its_text_vector(tmp_path):
    model = write_reader(tmp_path / "model", "rnn", n_layers=1)
    run = attend(model, "the cat ran", "--kind", "word")
    own = matrix(table(run.lines)["1", "1", "mean"])
    backbone = load_model(model, CPU)[1].backbone
    tokenizer = load_tokenizer(str(model))
    ids = torch.tensor(
        [[tokenizer.cls_id, *tokenizer.encode(["the cat ran"])[0], tokenizer.sep_id]]
    )
    with torch.no_grad():
        hidden = backbone(ids, ids >= 0)
        pool = backbone.attention_pool
        scores = torch.tanh(pool.attention.score.project(hidden)) @ pool.query
    np.testing.assert_allclose(own, scores.softmax(-1).numpy(), atol=1e-6)
    assert tokens(run.lines, "1", 4) == ["text"]
    assert "no target" in attend(model, "a\tb", "--pairs", status=2).said


def test_nodes_attend_to_their_neighbours(tmp_path):
    model = write_nodes(tmp_path / "model", tmp_path / "graph")
    run = inside(
        "attend", "-m", model, "--device", "cpu", "--head", "all", "--layer", 1, tmp_path / "graph"
    )
    rows = [line.split("\t") for line in run.lines]
    neighbours: dict[str, list[str]] = {}
    for row in rows:
        if row[2] == "2":
            neighbours.setdefault(row[4], []).append(row[6])
    assert neighbours == {
        "n0": ["n0", "n1", "n2", "n3"],
        "n1": ["n0", "n1", "n2"],
        "n2": ["n0", "n1", "n2"],
        "n3": ["n0", "n3"],
        "n4": ["n4"],
    }
    for weights in table(run.lines).values():
        assert sum(weights.values()) == pytest.approx(1, abs=1e-4)
    assert {row[2] for row in rows} == {"1", "2", "3"}
    assert "--words" in inside("attend", "-m", model, "--words", tmp_path / "graph", status=2).said


def test_a_graph_is_one_picture(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    model = write_nodes(tmp_path / "model", tmp_path / "graph")
    out = tmp_path / "graph.svg"
    run = inside("attend", "-m", model, "--device", "cpu", "-o", out, tmp_path / "graph")
    assert run.lines == [str(out)]
    assert out.read_bytes().startswith(b"<?xml")


def on_terminal(model: Path, lines: bytes, **environment: str) -> str:
    """What `attend` writes where standard output is a terminal."""
    ours, theirs = pty.openpty()
    settings = {**ENVIRONMENT, "COLUMNS": "60", "TERM": "xterm-256color"}
    settings.pop("NO_COLOR", None)
    settings |= environment
    command = [*forked_command(), "attend", "-m", str(model), "--beam", "1", "--device", "cpu"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.PIPE, env=settings
    ) as process:
        os.close(theirs)
        assert process.stdin
        process.stdin.write(lines)
        process.stdin.close()
        seen = b""
        while True:
            try:
                some = os.read(ours, 1 << 16)
            except OSError:  # the terminal's other side is closed
                break
            if not some:
                break
            seen += some
        assert process.wait() == 0, process.stderr.read() if process.stderr else ""
    os.close(ours)
    return seen.decode()


def test_a_terminal_gets_colours_unless_it_wants_none(translator):
    coloured = on_terminal(translator, b"the cat\n")
    assert "\x1b[48;" in coloured and "line 1  cross  layer 2  head mean" in coloured
    plain = on_terminal(translator, b"the cat\n", NO_COLOR="1")
    assert "\x1b[48;" not in plain and "█" in plain


def test_shades_in_a_pipe_fit_the_width(translator):
    environment = {**ENVIRONMENT, "COLUMNS": "40"}
    command = [*forked_command(), "attend", "-m", str(translator), "--format", "heat", "--pairs"]
    text = ("the cat sat on the mat and so on\tкот и \x1b[31mпёс\n" + "\n").encode()
    done = subprocess.run(command, input=text, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    out = done.stdout.decode()
    assert "\x1b" not in out and "█" in out
    assert out.endswith("\n\n")  # the blank line's answer
    body = [line for line in out.split("\n") if "░" in line or "█" in line or "▓" in line]
    assert body and all(len(line) <= 40 for line in body)
    assert out.count("</s> ") > 1  # the row of the end stands in every panel


def test_results_come_as_a_program_writes_them(translator):
    run = attn(
        *("attend", "-m", translator, "--threads", 1, "--device", "cpu", "--pairs"),
        stdin=f"{PAIR}\n\n".encode(),
    )
    assert run.said == "" and run.lines == [*attend(translator, PAIR, "--pairs").lines, ""]
