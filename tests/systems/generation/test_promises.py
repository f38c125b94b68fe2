"""What options promise of an output stands in it, or its line is named and the status is 3."""

from __future__ import annotations

import json

import pytest
from program import TINY, inside, write_reversal
from safetensors.torch import load_file

from attn_cli.models.directory import write_weights
from attn_cli.systems.generation.generator import Source
from attn_cli.systems.generation.joining import _word_places
from attn_cli.tokenizers.tokenizer_files import load_tokenizer


@pytest.fixture(scope="module")
def model(reversal_model):
    return ("-m", reversal_model, "--threads", 1)


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A small language model that sees 24 tokens at once."""
    place = tmp_path_factory.mktemp("writer")
    (place / "text.txt").write_text("a b c d e f\nc d e f a b\n" * 40)
    sizes = ("--d-model", 16, "--n-layers", 1, "--n-heads", 2, "--max-positions", 24)
    limits = ("--max-steps", 5, "--max-len", 24, "--threads", 1, "--device", "cpu")
    source = (place / "text.txt", "--objective", "clm", "--type", "char", "-o", place / "lm")
    inside("pretrain", *source, *sizes, *limits)
    return ("-m", place / "lm", "--threads", 1)


@pytest.fixture(scope="module")
def mask_predict(tmp_path_factory):
    """A mask-predict model that learnt outputs of at most 15 tokens."""
    place = tmp_path_factory.mktemp("masks")
    corpus = write_reversal(place / "train.tsv", 200, seed=3)
    recipe = ("--decoder", "mask-predict", "--max-len", 16, "--type", "bpe", "--vocab-size", 36)
    inside("train-mt", corpus, "-o", place / "model", *TINY, *recipe, "--max-steps", 2)
    return ("-m", place / "model", "--threads", 1)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (("--beam", 2, "--n-best", 5), "--beam 5"),
        (("--greedy", "--n-best", 3), "leave out --greedy"),
        (("--greedy", "--n-best", 9), "leave out --greedy, with --beam 9"),
    ],
)
def test_a_beam_too_narrow_for_the_outputs_is_wrong_usage(model, options, remedy):
    run = inside("decode", *model, *options, status=2)
    count = options[options.index("--n-best") + 1]
    assert run.said == f"attn: --n-best {count} needs a beam at least as wide: {remedy}\n"


@pytest.mark.parametrize(
    ("options", "row", "cause"),
    [
        (("--constraints",), "kera ||| 日本", "the phrase '日本' has '日本', which the model's"),
        (("--prefix",), "ke 😆 x", "the prefix 'ke 😆 x' has '😆', 'x', which the model's"),
        (("--prefix", "--max-len", 4), "kera monu baba", "--max-len is 4"),
        (("--constraints", "--max-len", 4), "kera monu baba", "--max-len is 4"),
        (("--constraints", "--max-len", 4), "kera ||| monu ||| baba", "its phrases have"),
    ],
)
def test_what_no_output_can_hold_is_named_and_the_others_are_answered(model, options, row, cause):
    stdin = f"limo\tkera\nbanu\t{row}\nlimo\tkera\n".encode()
    run = inside("decode", *model, *options, stdin=stdin, status=3)
    first, unusable, last = run.lines
    assert "kera" in first
    assert last == first
    assert unusable.split("\t")[0] == ""
    (named,) = [line for line in run.said.split("\n") if "standard input:2" in line]
    assert cause in named
    assert "1 unusable line: answered with an empty line" in run.said
    assert inside("decode", *model, *options, "--skip-bad", stdin=stdin).out == run.out


def test_a_blank_source_can_hold_nothing(model):
    stdin = b"\tkera\n\t\n \t \n\n"
    run = inside("decode", *model, "--prefix", stdin=stdin, status=3)
    assert [line.strip() for line in run.lines] == ["", "", "", ""]
    assert "standard input:1: the prefix 'kera' is asked for, but the source is blank" in run.said
    assert "1 unusable line:" in run.said


def test_without_a_limit_of_its_own_an_output_is_as_long_as_what_it_must_hold(model):
    words = " ".join(["kera", "monu", "baba", "limo"] * 8)
    run = inside("decode", *model, "--prefix", stdin=f"b\t{words}\n".encode())
    assert run.lines[0].startswith(words)
    run = inside("decode", *model, "--constraints", stdin=f"b\t{words}\n".encode())
    assert words in run.lines[0]


def test_constraints_are_refused_where_no_search_can_keep_them(model):
    for option in ("--sample", "--diversity=1"):
        run = inside("decode", *model, "--constraints", option, stdin=b"limo\tkera\n", status=2)
        assert "--constraints needs a plain beam search" in run.said


def test_a_line_without_a_known_piece_is_named_and_an_invisible_one_is_blank(model, writer):
    """A tokenizer that falls back to bytes, as that of a language model, knows all."""
    stdin = "😆\n\u200b\n\u00ad \ufeff\nbanu kera\n".encode()
    run = inside("decode", *model, "--greedy", stdin=stdin, status=3)
    assert [bool(line) for line in run.lines] == [False, False, False, True]
    cause = "standard input:1: no character of it is known to the model's tokenizer"
    assert cause in run.said
    assert "1 unusable line:" in run.said
    run = inside("decode", *writer, "--greedy", "--max-len", 4, stdin=stdin)
    assert [bool(line) for line in run.lines] == [True, False, False, True]


def test_fewer_outputs_than_asked_for_are_given_and_named(model):
    groups = ("--beam", 4, "--diversity", 0.0001, "--n-best", 4, "--format", "json")
    run = inside("decode", *model, *groups, stdin=b"banu kera\n", status=3)
    found = json.loads(run.lines[0])["hypotheses"]
    assert 1 <= len(found) < 4
    assert f"standard input:1: {len(found)} output" in run.said
    assert "found of 4 (--n-best)" in run.said
    assert "1 unusable line: answered in part" in run.said


def test_the_shortest_length_counts_what_a_language_model_adds(writer):
    options = ("--greedy", "--min-len", 6, "--max-len", 6)
    (line,) = inside("decode", *writer, *options, stdin=b"a b\n").lines
    tokenizer = load_tokenizer(str(writer[1]))
    (prompt, whole) = tokenizer.encode(["a b", line])
    assert len(whole) <= len(prompt) + 6
    run = inside("decode", *writer, "--min-len", 40, stdin=b"a b\n", status=3)
    assert "--min-len is 40, but there is room for" in run.said
    assert run.lines == [""]


def test_the_shortest_length_is_kept_or_named_by_a_mask_predict_model(mask_predict):
    run = inside("decode", *mask_predict, "--min-len", 12, stdin=b"limo\n")
    assert run.lines[0]
    run = inside("decode", *mask_predict, "--min-len", 60, stdin=b"limo\n", status=3)
    assert "its output has 15 tokens, but --min-len is 60" in run.said
    assert run.lines == [""]


def test_what_must_appear_and_may_not_repeat_is_named(model):
    stdin = b"banu\tkera ||| kera kera\n"
    run = inside("decode", *model, "--constraints", "--no-repeat-ngram", 1, stdin=stdin, status=3)
    assert "repeats a sequence of 1 token (--no-repeat-ngram)" in run.said


def test_a_prompt_longer_than_what_is_read_is_named_and_max_input_decides(writer):
    stdin = ("a b c d e f " * 9).strip().encode() + b"\na b\n"
    run = inside("decode", *writer, "--greedy", "--max-len", 3, stdin=stdin)
    assert (
        "standard input:1: a prompt of 107 tokens, of which the model reads the last 12" in run.said
    )
    assert "--max-input allows up to 22" in run.said
    assert "standard input:2" not in run.said
    run = inside("decode", *writer, "--greedy", "--max-len", 3, "--max-input", 2, stdin=stdin)
    assert "reads the last 2;" in run.said
    assert "standard input:2: a prompt of" in run.said


def test_many_long_prompts_are_named_at_first_and_then_counted(writer):
    stdin = (b"a b c d e f " * 9).strip() + b"\n"
    run = inside("decode", *writer, "--greedy", "--max-len", 1, stdin=stdin * 12)
    assert run.said.count("a prompt of") == 10
    assert "12 lines hold more than what is read of them" in run.said


def test_an_output_that_stops_before_its_end_is_said_once(model, writer, tmp_path):
    corpus = write_reversal(tmp_path / "train.tsv", 200, seed=3)
    pieces = ("--type", "word", "--vocab-size", 60, "--metric", "loss")
    inside("train-mt", corpus, "-o", tmp_path / "young", *TINY, *pieces, "--max-steps", 1)
    young = ("-m", tmp_path / "young", "--threads", 1)
    weights = load_file(tmp_path / "young" / "model.safetensors")
    (bias,) = (weight for name, weight in weights.items() if name.endswith("output_bias"))
    bias[load_tokenizer(str(tmp_path / "young")).eos_id] = -1e4  # it never ends by itself
    write_weights(tmp_path / "young", weights, {})
    run = inside("decode", *young, "--greedy", stdin=b"banu kera\n" * 3)
    assert run.said.count("its output stops at 14 tokens, before its end (--max-len)") == 1
    assert "3 lines have an output that stops before its end" in run.said
    run = inside("decode", *model, "--greedy", "--max-len", 2, stdin=b"banu kera limo\n" * 3)
    assert run.said == ""  # that is what was asked for
    run = inside("decode", *writer, "--greedy", "--min-len", 3, "--max-len", 3, stdin=b"a b\n")
    assert run.said == ""  # that is what was asked for
    run = inside("decode", *writer, "--max-len", 50, "--no-repeat-ngram", 40, stdin=b"a b\n")
    if "stops" in run.said:  # it may have ended by itself
        assert "before --max-len 50: with its prompt it fills the 24" in run.said


def test_words_of_parts_are_those_of_their_line():
    parts = [Source("one tw"), Source("o"), Source("three")]
    assert _word_places("one two  three", parts) == [[0, 1], [1], [2]]


def test_alignments_of_a_cut_word_point_to_that_word(model):
    word = "kera" * 30
    stdin = f"banu {word} limo\n".encode()
    (line,) = inside("decode", *model, "--align", "--max-input", 8, stdin=stdin).lines
    text, links = line.split("\t")
    pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
    assert [j for _, j in pairs] == list(range(len(text.split())))
    assert {i for i, _ in pairs} <= {0, 1, 2}


def test_what_a_tokenizer_lacks_is_told_by_its_parts(reversal_model):
    tokenizer = load_tokenizer(str(reversal_model))
    assert tokenizer.lacking("banu ქe xx banu ქ") == ["ქ", "xx"]
    assert tokenizer.lacking("banu") == []
    assert not tokenizer.knows(tokenizer.encode(["ქ"])[0])
    assert tokenizer.knows(tokenizer.encode(["ქ b"])[0])
