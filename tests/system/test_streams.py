"""`attn decode` and `attn score` on streams: one line in, one line out, whatever the line."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from program import COMMAND, ENVIRONMENT, attn, inside, write_reversal

from attn_cli.lines.reading import parse_line
from attn_cli.lines.rows import is_blank
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

# Streams that begin so are packed, or in another encoding: they are read or refused as a whole.
NO_TEXT = (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff", b"\x28\xb5", b"PK", b"7z", b"BZh", b"\xfd7z")

SENTENCES = ["banu kera", "limo", "moვo ☃", "kevo lira monu baba", "b"]


@pytest.fixture(scope="module")
def model(reversal_model):
    return ("-m", reversal_model, "--threads", 1)


def named_lines(said):
    """The numbers of the lines that stderr calls unusable."""
    lines = [line for line in said.split("\n") if "its output stops" not in line]
    return [int(line.split(":")[2]) for line in lines if "standard input:" in line]


PATHOLOGIES = [
    b"\xef\xbb\xbfbanu kera\tfirst\r",
    b"",
    b"bad \xff bytes\tkept\tb\xe9d\tkept too",
    "limo\u2028kera\x0b\x0c\x85 monu\tseparators".encode(),
    b"   \tblank source",
    b"k",
    "kéra\tone character".encode(),
    b"\xed\xa0\x80",
    b"\r\r",
    b"no other column",
    "\u3000 \u200b\ta\tb\tc".encode(),
    b"nul\x00inside\t\x00",
    b"\t\t\t",
    b"limo\tlast line without its end",
]


def test_every_line_is_answered_in_place_through_real_pipes(model):
    stdin = b"\n".join(PATHOLOGIES)
    run = attn("decode", *model, "--scores", "--align", stdin=stdin, status=3)
    answers = [line.split("\t") for line in run.lines]
    assert len(answers) == len(PATHOLOGIES)
    assert named_lines(run.said) == [3, 8]
    assert "2 unusable lines: answered with an empty line" in run.said
    for number, (raw, answer) in enumerate(zip(PATHOLOGIES, answers, strict=True), 1):
        line = parse_line(raw, number)
        source, *rest = line.text.split("\t") if not line.error else ("", *_readable(line))
        assert answer[3:] == rest, number
        if line.error or is_blank(source):
            assert answer[:3] == ["", "", ""], number
        else:
            assert float(answer[1]) < 0, number
    lenient = inside("decode", *model, "--scores", "--align", "--skip-bad", stdin=stdin)
    assert lenient.out == run.out


def _readable(line):
    """The further columns of a line that is not UTF-8."""
    return {3: ["kept", "", "kept too"]}.get(line.number, [])


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=12),
            st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.sampled_from([b"banu kera\tx", b"limo", b"", b"\r", b"\t", b"\xef\xbb\xbf"]),
        ),
        max_size=300,
    )
)
def test_any_bytes_give_as_many_lines_and_the_bad_ones_are_named(model, raw_lines):
    raw_lines = [raw.replace(b"\n", b"") for raw in raw_lines] + [b"\xff", b"limo\t end"]
    stdin = b"".join(raw + b"\n" for raw in raw_lines)
    assume(not stdin.startswith(NO_TEXT))
    options = ("--greedy", "--max-len", 4)
    run = inside("decode", *model, *options, stdin=stdin, status=3)
    bad, tokenizer = [], load_tokenizer(str(model[1]))
    assert len(run.lines) == len(raw_lines)
    for number, (raw, answer) in enumerate(zip(raw_lines, run.lines, strict=True), 1):
        line = parse_line(raw, number)
        source = line.text.split("\t")[0]
        known = is_blank(source) or tokenizer.knows(tokenizer.encode([source])[0])
        if line.error or not known:
            bad.append(number)
            assert answer.split("\t")[0] == ""
        else:
            assert answer.split("\t")[1:] == line.text.split("\t")[1:]
    named = named_lines(run.said)  # those that can't be read before those that can't be answered
    assert len(named) == min(10, len(bad)) and {*named} <= {*bad}
    assert f"{len(bad):,} unusable line" in run.said


OUTPUTS = [
    ("--beam", 3),
    ("--beam", 1, "--max-len", 2),  # cut before its end
    ("--sample", "--temperature", 3, "--max-len", 12),  # pieces that the tokenizer would not choose
    ("--greedy", "--min-len", 9, "--max-len", 11),
]


def scored(model, pairs):
    stdin = "".join(f"{src}\t{hypothesis}\n" for src, hypothesis in pairs).encode()
    return [float(line) for line in inside("score", "--log-prob", *model, stdin=stdin).lines]


@pytest.mark.parametrize("options", OUTPUTS)
def test_the_score_of_an_output_is_what_score_gives_it(model, tmp_path, options):
    sources = write_reversal(tmp_path / "test.tsv", 20, seed=31).read_text().splitlines()
    stdin = "".join(f"{line}\n" for line in [*sources, *SENTENCES]).encode()
    lines = inside("decode", *model, "--scores", *options, stdin=stdin).lines
    rows = [line.split("\t") for line in lines]
    pairs = [
        (source.split("\t")[0], row[0])
        for source, row in zip([*sources, *SENTENCES], rows, strict=True)
    ]
    assert [float(row[1]) for row in rows] == pytest.approx(scored(model, pairs), abs=1e-4)
    listed = inside("decode", *model, *options, "--format", "json", stdin=stdin).lines
    texts = [json.loads(line)["hypotheses"][0] for line in listed]
    assert [one["text"] for one in texts] == [row[0] for row in rows]
    assert [one["log_prob"] for one in texts] == pytest.approx(
        [float(row[1]) for row in rows], abs=1e-5
    )


def test_log_prob_through_a_pipe_answers_every_line(model):
    stdin = (
        b"banu kera\tkera banu\n\xff\tx\n\nlimo\tlimo\textra\r\nonly one\nlimo\tlimo\xe2\x80\xa8"
    )
    run = attn("score", "--log-prob", *model, stdin=stdin, status=3)
    assert len(run.lines) == 6
    assert [bool(line) for line in run.lines] == [True, False, False, True, False, True]
    assert named_lines(run.said) == [2, 5]
    likely, unlikely = scored(model, [("banu kera", "kera banu"), ("banu kera", "limo")])
    assert float(run.lines[0]) == pytest.approx(likely, abs=1e-4)
    assert likely > unlikely


def test_n_best_lists_as_moses_and_json(model):
    stdin = "".join(f"{text}\tref\n" for text in [*SENTENCES, ""]).encode()
    options = ("--beam", 4, "--n-best", 3, "--length-penalty", 1)
    moses = inside("decode", *model, *options, "--format", "moses", stdin=stdin).lines
    entries = [line.split(" ||| ") for line in moses]
    listed = [
        json.loads(line)
        for line in inside("decode", *model, *options, "--format", "json", stdin=stdin).lines
    ]
    assert [entry["line"] for entry in listed] == [1, 2, 3, 4, 5, 6]
    assert all(entry["columns"] == ["ref"] for entry in listed)
    for number, entry in enumerate(listed):
        found = [fields for fields in entries if int(fields[0]) == number]
        hypotheses = entry["hypotheses"]
        assert [fields[1] for fields in found] == [one["text"] for one in hypotheses]
        scores = [one["score"] for one in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert [float(fields[3]) for fields in found] == pytest.approx(scores, abs=1e-5)
        assert len(hypotheses) == (3 if number < 5 else 1)
    run = inside("decode", *model, "--n-best", 3, stdin=stdin, status=2)
    assert "--n-best 3 needs --format moses or --format json" in run.said


def test_a_prefix_begins_and_constraints_appear_in_the_output(model):
    rows = [("banu kera", "monu", "vo"), ("limo", "", "baba ||| kera"), ("kevo", "kevo ba", "")]
    stdin = "".join("\t".join([*row, "rest"]) + "\n" for row in rows).encode()
    run = inside("decode", *model, "--prefix", "--constraints", stdin=stdin + b"\n")
    for (_, prefix, phrases), line in zip(rows, run.lines, strict=False):
        text, rest = line.split("\t")
        assert text.startswith(prefix)
        assert all(phrase in text for phrase in phrases.split(" ||| "))
        assert rest == "rest"
    assert len(run.lines) == 4
    assert run.lines[-1] == ""
    run = inside("decode", *model, "--prefix", stdin=b"banu kera\n", status=3)
    assert run.out == b"\n"
    assert "1 column, but column 2 is needed" in run.said


def test_alignments_link_words_that_exist(model, tmp_path):
    corpus = write_reversal(tmp_path / "test.tsv", 40, seed=77)
    right = total = 0
    for line in inside("decode", *model, "--align", corpus).lines:
        text, links, reference = line.split("\t")
        n_words = len(reference.split())
        pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
        assert [j for _, j in pairs] == list(range(len(text.split())))
        assert all(0 <= i < n_words for i, _ in pairs)
        if text == reference:
            total += n_words
            right += sum(i + j == n_words - 1 for i, j in pairs)
    assert right / total > 0.5  # chance is 0.4: the model attends where it reads


def test_width_one_is_greedy_and_a_model_twice_is_the_model(model, tmp_path):
    corpus = write_reversal(tmp_path / "test.tsv", 30, seed=78)
    one = inside("decode", *model, "--beam", 1, "--scores", corpus).out
    assert inside("decode", *model, "--greedy", "--scores", corpus).out == one
    twice = f"{model[1]},{model[1]}"
    ensemble = inside("decode", "-m", twice, "--threads", 1, "--beam", 3, "--scores", corpus).lines
    alone = inside("decode", *model, "--beam", 3, "--scores", corpus).lines
    for together, single in zip(ensemble, alone, strict=True):
        (text, score, *rest), (other_text, other_score, *other_rest) = (
            line.split("\t") for line in (together, single)
        )
        assert (text, rest) == (other_text, other_rest)
        assert float(score) == pytest.approx(float(other_score), abs=1e-4)


@pytest.mark.parametrize(
    "options", [("--batch-tokens", 1), ("--buffer", 3), ("--batch-tokens", 40, "--buffer", 1000)]
)
def test_how_lines_are_grouped_changes_no_output(model, tmp_path, options):
    corpus = write_reversal(tmp_path / "test.tsv", 25, seed=79, longest=9)
    expected = inside("decode", *model, "--beam", 3, corpus).out
    assert inside("decode", *model, "--beam", 3, *options, corpus).out == expected


def test_samples_follow_their_seed_not_their_neighbours(model):
    stdin = "".join(f"{text}\n" for text in SENTENCES * 3).encode()
    options = ("--sample", "--temperature", 2)
    first = inside("decode", *model, *options, "--seed", 4, stdin=stdin)
    assert (
        inside("decode", *model, *options, "--seed", 4, "--buffer", 2, stdin=stdin).out == first.out
    )
    assert inside("decode", *model, *options, "--seed", 5, stdin=stdin).out != first.out


def test_columns_choose_the_source_and_pass_the_others_on(model):
    plain = inside("decode", *model, stdin=b"banu kera\nlimo\n").lines
    by_number = inside("decode", *model, "--columns", 2, stdin=b"a\tbanu kera\tb\nc\tlimo\td\n")
    assert by_number.lines == [f"{plain[0]}\ta\tb", f"{plain[1]}\tc\td"]
    stdin = b"\xef\xbb\xbfid\ttext\r\n1\tbanu kera\r\n2\tlimo\r\n"
    by_name = inside("decode", *model, "--columns", "text", stdin=stdin)
    assert by_name.lines == [f"{plain[0]}\t1", f"{plain[1]}\t2"]


def test_a_long_line_is_decoded_in_parts_and_still_answers_one_line(model):
    long = " ".join(["banu kera limo."] * 40)
    wild = "kera" * 3000
    stdin = f"limo\tref\n{long}\tref\n{wild}\tref\n{' ' * 20000}\tref\n".encode()
    run = inside("decode", *model, "--max-input", 24, "--max-len", 10, stdin=stdin)
    assert len(run.lines) == 4
    assert all(line.endswith("\tref") for line in run.lines)
    assert run.lines[3] == "\tref"
    assert "standard input:2: long line, decoded in" in run.said
    assert "standard input:3: long line, decoded in" in run.said
    scored_run = inside("decode", *model, "--max-input", 24, "--scores", "--align", stdin=stdin)
    text, score, links, _ = scored_run.lines[1].split("\t")
    assert float(score) < 0
    assert len(links.split()) == len(text.split())


def test_lines_as_long_as_the_training_had_are_read_whole(model, tmp_path):
    line = " ".join(["banu kera limo."] * 150).encode()
    little = ("--greedy", "--max-len", 3)
    assert "decoded in" in inside("decode", *model, *little, stdin=line).said
    directory = model[1]
    config = json.loads((directory / "config.json").read_text())
    for trained, said in ((2000, ""), ("long", "decoded in"), (-1, "decoded in")):
        config["options"]["corpus"]["max_len"] = trained
        copy = tmp_path / str(trained)
        shutil.copytree(directory, copy)
        (copy / "config.json").write_text(json.dumps(config))
        run = inside("decode", "-m", copy, *little, stdin=line)
        assert len(run.lines) == 1
        assert said in run.said and bool(said) == ("decoded in" in run.said), run.said
    bounded = inside("decode", "-m", tmp_path / "2000", "--max-input", 100, *little, stdin=line)
    assert "decoded in" in bounded.said


def test_empty_input_is_a_success(model):
    run = inside("decode", *model)
    assert (run.out, run.said) == (b"", "")


def read_line(process, seconds=120):
    """One line of a process's stdout; the process is killed if none comes in time."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


def test_a_slow_producer_is_answered_line_by_line(model):
    command = [*COMMAND, "decode", *map(str, model), "--max-len", "3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as process:
        for number in range(4):
            process.stdin.write(f"banu kera\t{number}\n".encode())
            process.stdin.flush()
            assert read_line(process).endswith(f"\t{number}\n".encode())
        rest, said = process.communicate(b"limo\tx", timeout=120)
    assert rest.endswith(b"\tx\n")
    assert (process.returncode, said) == (0, b"")


def test_head_ends_quietly(model, tmp_path):
    corpus = write_reversal(tmp_path / "many.tsv", 6000, seed=1)
    command = [*COMMAND, "decode", *map(str, model), "--greedy", "--buffer", "50", str(corpus)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as process:
        assert read_line(process)
        process.stdout.close()
        process.stdout = None
        _, said = process.communicate(timeout=120)
    assert process.returncode in (0, 128 + 13, -13)
    assert said == b""


def test_models_and_options_that_do_not_fit_are_refused(model, tmp_path):
    missing = inside("decode", "-m", tmp_path / "nowhere", stdin=b"x\n", status=2)
    assert "no such model directory" in missing.said
    assert missing.out == b""
    for option in ("--task", "--stride", "--no-answer-threshold"):
        vain = inside("decode", *model, option, 3, stdin=b"x\n", status=2)
        assert f"{option}: " in vain.said
        assert "writes texts: leave it out" in vain.said
    assert "need --sample" in inside("decode", *model, "--top-k", 3, stdin=b"x\n", status=2).said
    assert "--beam" in inside("decode", *model, "--baem", 3, stdin=b"x\n", status=2).said
    absent = inside("decode", *model, tmp_path / "absent.tsv", status=2)
    assert "absent.tsv: No such file" in absent.said
