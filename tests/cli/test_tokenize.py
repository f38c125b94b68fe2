from __future__ import annotations

import random
import subprocess
import sys

import program
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from program import ENVIRONMENT, inside

from attn_cli.lines.reading import legible, parse_line

COMMAND = [*program.COMMAND, "tokenize"]


def attn(*arguments: object, **how):
    """Runs `attn tokenize …` and returns its stdout and its stderr."""
    run = program.attn("tokenize", *arguments, **how)
    return run.out, run.said


def corpus(size: int = 300) -> bytes:
    generator = random.Random(5)
    syllables = ["ba", "ke", "li", "mo", "nu", "ra", "ße", "ти", "vo", "ing"]
    words = ["".join(generator.choices(syllables, k=1 + i % 4)) for i in range(200)]
    lines = [" ".join(generator.choices(words, k=6)) for _ in range(size)]
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with tokenizers that the command itself trained."""
    place = tmp_path_factory.mktemp("tokenizers")
    options = ("--type", "unigram", "--vocab-size", 300)
    out, _ = attn("train", "-o", "exact.model", "--lossless", *options, stdin=corpus(), cwd=place)
    assert out == b"exact.model\n"
    out, said = attn("train", "--vocab-size", 120, "--sample-lines", 99, stdin=corpus(), cwd=place)
    assert out == b"tokenizer.model\n"
    assert "random sample of 99 of 300 texts" in said
    assert sorted(path.name for path in place.iterdir()) == ["exact.model", "tokenizer.model"]
    return place


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=20).map(str.encode)), max_size=300)
)
def test_any_bytes_give_line_for_line_and_come_back(folder, raw_lines):
    """encode | decode is the identity on every usable line; of others, what can be read passes."""
    raw_lines = [raw.replace(b"\n", b"") for raw in raw_lines]
    raw_lines += ["a\u2581 b\x00".encode(), b" \t two \t", b"\xff", b"", b"x\r", b"\r\r", b"\tq"]
    stdin = b"".join(raw + b"\n" for raw in raw_lines)
    read = [parse_line(raw, number) for number, raw in enumerate(raw_lines, 1)]
    rest = [["", *legible(line.escaped.split("\t")[1:])] for line in read]
    expected = [
        "\t".join(own) if line.error else line.text for line, own in zip(read, rest, strict=True)
    ]
    model = ("-t", folder / "exact.model")
    tokens, said = attn("encode", *model, stdin=stdin, status=3)
    bad = sum(parse_line(raw, 2).error is not None for raw in raw_lines)
    assert f"{bad} unusable line" in said
    text, _ = attn("decode", *model, stdin=tokens)
    assert text.decode().split("\n") == [*expected, ""]


def test_bad_lines_are_named_and_can_be_accepted(folder):
    stdin = b"nu ra\tsecond\tthird\nbad \xff\tx\n\nli\n"
    model = ("-t", folder / "tokenizer.model")
    out, said = attn("encode", *model, stdin=stdin, status=3)
    assert "standard input:2: not UTF-8 at byte 5" in said
    assert "--skip-bad" in said
    lines = out.decode().split("\n")
    assert lines[0].endswith("\tsecond\tthird")
    assert lines[1:3] == ["\tx", ""]
    assert len(lines) == 5
    accepted, said = attn("encode", *model, "--skip-bad", stdin=stdin)
    assert accepted == out
    assert "1 unusable line" in said


def test_wrong_ids_and_pieces_are_bad_lines(folder):
    model = ("-t", folder / "tokenizer.model")
    stdin = b"7 8\tkept\n7 x\tkept\n120\n-1\n\n" + b"9" * 5000 + b"\n1_0\n"
    out, said = attn("decode", *model, "--as", "ids", stdin=stdin, status=3)
    lines = out.decode().split("\n")
    assert lines[0].endswith("\tkept") and len(lines[0]) > 5
    assert lines[1:] == ["\tkept", "", "", "", "", "", ""]
    assert "standard input:2: 'x' is no token id" in said
    assert "standard input:3: no token 120: ids are 0 to 119" in said
    assert "5 unusable lines" in said
    out, said = attn("decode", *model, stdin="▁ qqq\n".encode(), status=3)
    assert out == b"\n"
    assert "no piece 'qqq'" in said


def test_ids_and_columns(folder):
    """--columns picks the text; results come first and the other columns stay."""
    model = ("-t", folder / "tokenizer.model", "--as", "ids")
    ids, _ = attn("encode", *model, "--columns", "2", stdin=b"left\tnu ra\nleft\tli\n")
    assert [line.split(b"\t")[1] for line in ids.splitlines()] == [b"left", b"left"]
    assert attn("decode", *model, stdin=ids)[0] == b"nu ra\tleft\nli\tleft\n"
    named, _ = attn("encode", *model, "--columns", "b", stdin=b"a\tb\nleft\tnu ra\nleft\tli\n")
    assert named == ids


def test_sampling_is_seeded_and_decodes_to_the_text(folder):
    model = ("-t", folder / "tokenizer.model")
    first, _ = attn("encode", *model, "--sample", 0.3, stdin=corpus())
    assert attn("encode", *model, "--sample", 0.3, "--seed", 1, stdin=corpus())[0] == first
    assert attn("encode", *model, "--sample", 0.3, "--seed", 2, stdin=corpus())[0] != first
    assert attn("decode", *model, stdin=first)[0] == corpus()


def test_threads_change_no_byte(folder, monkeypatch):
    """They are the library's own, of a window of many lines alone."""
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = corpus(700) + b"bad \xff\n" + corpus(20) + "▁ two  spaces\tcolumn\n".encode()
    options = ("encode", "-t", folder / "exact.model", "--skip-bad")
    one = attn(*options, "--threads", 1, stdin=lines)
    assert attn(*options, "--threads", 3, stdin=lines) == one
    taken = []
    encode = sentencepiece.SentencePieceProcessor.encode

    def noted(self, *texts, **more):
        taken.append(more["num_threads"])
        return encode(self, *texts, **more)

    monkeypatch.setattr(sentencepiece.SentencePieceProcessor, "encode", noted)
    inside("tokenize", *options, "--threads", 3, stdin=lines)
    inside("tokenize", *options, "--threads", 3, stdin=b"few\nlines\n")
    inside("tokenize", *options, stdin=lines)  # $OMP_NUM_THREADS
    assert taken == [3, 1, 1]


@pytest.mark.parametrize("spec", [(), ("--columns", "text")])
def test_workers_change_no_byte(folder, spec):
    """A stream of several blocks: the same lines, in order, and the same said of them."""
    lines = b"".join(b"%s\t%d\n" % (line, n) for n, line in enumerate(corpus(9000).splitlines()))
    stdin = b"text\tid\n" + lines + b"bad \xff\tkept\n\n" + lines + b"\xfe"
    options = ("-t", folder / "exact.model", *spec)
    one = attn("encode", *options, "--threads", 1, stdin=stdin, status=3)
    assert attn("encode", *options, "--threads", 3, stdin=stdin, status=3) == one
    out, said = one
    assert len(out) > 3 << 18 and len(out.splitlines()) == 18_004 - bool(spec)
    assert "standard input:9002: not UTF-8 at byte 5" in said
    assert "standard input:18004: not UTF-8 at byte 1" in said and "2 unusable lines" in said
    ids = attn("encode", *options, "--as", "ids", "--skip-bad", stdin=stdin)[0]
    back = ("decode", "-t", folder / "exact.model", "--as", "ids", "--threads")
    assert attn(*back, 3, stdin=ids + b"x\n", status=3) == attn(
        *back, 1, stdin=ids + b"x\n", status=3
    )


def test_training_takes_every_column_or_those_picked(tmp_path):
    stdin = "".join(f"{'abc'[i % 3]}b{i % 7}\tжд\n" for i in range(60)).encode()
    char = ("train", "--type", "char", "--vocab-size", 60, "--quiet")
    attn(*char, "-o", tmp_path / "all.model", stdin=stdin)
    attn(*char, "-o", tmp_path / "one.model", "--columns", "1", stdin=stdin)
    for name, expected in (("all.model", "▁ ж д\n"), ("one.model", "▁ <unk>\n")):
        assert attn("encode", "-t", tmp_path / name, stdin="жд\n".encode())[0] == expected.encode()


def test_training_refuses_unusable_lines_before_it_starts(tmp_path):
    stdin = corpus() + b"bad \xff\n"
    output = tmp_path / "tokenizer.model"
    command = ("train", "--vocab-size", 100, "-o", output)
    _, said = attn(*command, stdin=stdin, status=3)
    assert "standard input:301: not UTF-8" in said
    assert not list(tmp_path.iterdir())
    attn(*command, "--skip-bad", stdin=stdin)
    assert output.is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("train", "--vocab-size", 100_000), 3, "too large for this text: bpe finds at most"),
        (("train", "--vocab-size", 20), 3, "too small for this text"),
        (("train", "--type", "bpee"), 2, "did you mean bpe?"),
        (("train", "--type", "wordpiece", "-o", "x.model"), 2, "a file *.txt"),
        (("train", "--type", "wordpiece", "--lossless"), 2, "wordpiece can't be lossless"),
        (("encode", "-t", "none.model"), 2, "none.model: No such file"),
        (("encode", "-t", "tokenizer.model", "--as", "words"), 2, "not one of pieces, ids"),
        (("encode", "-t", "tokenizer.model", "--sample", 2), 2, "above 1"),
        (("encode", "-t", "tokenizer.model", "nofile"), 2, "nofile: No such file"),
        (("encode",), 2, "--tokenizer"),
    ],
)
def test_mistakes_say_what_to_do(folder, arguments, status, message):
    before = sorted(folder.iterdir())
    _, said = attn(*arguments, stdin=corpus(), status=status, cwd=folder)
    assert message in said
    assert "src/" not in said  # nothing of SentencePiece's C++ sources
    assert sorted(folder.iterdir()) == before


def test_each_line_of_a_slow_producer_is_answered_at_once(folder):
    command = [*COMMAND, "encode", "-t", str(folder / "tokenizer.model")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as process:
        for text in (b"nu ra\n", b"\n", b"li\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdin.close()
        assert process.wait(60) == 0


def test_head_ends_the_pipe_quietly(folder, tmp_path):
    (tmp_path / "big.txt").write_bytes(corpus() * 100)
    command = [*COMMAND, "encode", "-t", str(folder / "tokenizer.model"), str(tmp_path / "big.txt")]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) in (0, -13, 141)


def test_torch_is_never_imported(folder):
    command = [sys.executable, "-X", "importtime", *COMMAND[1:]]
    command += ["encode", "-t", str(folder / "tokenizer.model")]
    done = subprocess.run(command, input=b"nu ra\n", capture_output=True, env=ENVIRONMENT)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    assert done.returncode == 0 and "sentencepiece" in modules
    assert not modules & {"torch", "transformers", "sacrebleu"}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Ten times the lines, the same peak within a tenth."""
    script = (
        "import resource, sys; from attn_cli.cli import main; status = main();"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr);"
        "sys.exit(status)"
    )
    peaks, lines = [], corpus()
    for times in (300, 3000):
        with (tmp_path / "big.txt").open("wb") as file:  # a child's peak begins with our own size
            file.writelines([lines] * times)
        command = [sys.executable, "-c", script, "tokenize", "train", str(tmp_path / "big.txt")]
        command += ["--type", "bpe", "--vocab-size", "200", "--sample-lines", "5000"]
        command += ["-o", str(tmp_path / "tokenizer.model")]
        done = subprocess.run(command, capture_output=True, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr.decode()
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize(
    ("flags", "bytes_for_rare", "bytes_for_unseen"),
    [((), False, False), (("--coverage", 0.98), True, True), (("--byte-fallback",), False, True)],
)
def test_characters_without_a_piece_are_bytes_where_there_are_some(
    tmp_path, flags, bytes_for_rare, bytes_for_unseen
):
    text = corpus() + "Ж\n".encode()
    attn("train", "--vocab-size", 330, "--type", "bpe", *flags, stdin=text, cwd=tmp_path)
    out, _ = attn("encode", "-t", "tokenizer.model", stdin="Ж\nЩ\n".encode(), cwd=tmp_path)
    assert [b"<0xD0>" in line for line in out.split(b"\n")[:2]] == [
        bytes_for_rare,
        bytes_for_unseen,
    ]


def test_an_uncased_tokenizer_takes_capitals_for_small_letters(tmp_path):
    kind = ("--type", "wordpiece", "--vocab-size", 200)
    for name, flags in (("cased", ()), ("uncased", ("--lowercase",))):
        (tmp_path / name).mkdir()
        text = corpus() + b"BAKE Bake bake\n" * 50
        attn("train", *kind, *flags, stdin=text, cwd=tmp_path / name)
    pieces = {
        name: attn("encode", "-t", f"{name}/vocab.txt", stdin=b"bake\nBAKE\n", cwd=tmp_path)[0]
        for name in ("cased", "uncased")
    }
    small, capital, _ = pieces["uncased"].split(b"\n")
    assert small == capital != b"[UNK]"
    small, capital, _ = pieces["cased"].split(b"\n")
    assert small != capital
