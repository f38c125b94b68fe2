"""`attn score` as a user meets it: real pipes, real files, exit codes, stdout and stderr apart."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys

import pytest

ATTN = [sys.executable, "-m", "attn_cli", "score"]


def run(*arguments, stdin=b"", check=0):
    """Runs `attn score`; returns its stdout as text, its stderr as text."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run([*ATTN, *arguments], input=stdin, capture_output=True, env=environment)
    assert done.returncode == check, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def figures(out):
    return {name: float(value) for name, value in (line.split("\t") for line in out.splitlines())}


def test_one_name_and_value_per_metric():
    lines = "the cat sat on the mat\tthe cat sat on a mat\na\ta\n"
    flags = ["--wer", "--cer", "--rouge", "--exact-match", "--bleu", "--chrf", "--chrf++", "--ter"]
    out, err = run(*flags, stdin=lines)
    assert err == ""
    assert list(figures(out)) == [
        *("BLEU", "chrF2", "chrF2++", "TER", "WER", "CER"),
        *("ROUGE-1", "ROUGE-2", "ROUGE-L", "EXACT_MATCH"),
    ]
    assert figures(out)["WER"] == pytest.approx(1 / 7, abs=1e-6)
    assert figures(out)["EXACT_MATCH"] == 0.5


def test_bleu_and_chrf_without_a_named_metric_and_numbers_as_sacrebleu(tmp_path):
    hypotheses = ["the cat sat on the mat", "", "a dog", "\u2028odd\x0bline\x85 ends"]
    references = ["the cat sat on a mat", "not empty", "a dog", "odd line ends"]
    out, _ = run(stdin="".join(map("{}\t{}\n".format, hypotheses, references)))
    from sacrebleu.metrics import BLEU, CHRF

    expected = [m.corpus_score(hypotheses, [references]).score for m in (BLEU(), CHRF())]
    assert list(figures(out)) == ["BLEU", "chrF2"]
    assert list(figures(out).values()) == pytest.approx(expected, abs=1e-4)


def test_tsv_and_parallel_files_give_the_same_figures(tmp_path):
    (tmp_path / "hyp").write_text("a b c d\n\nx y\n")
    (tmp_path / "r1").write_text("a b c e\nq\nx y\n")
    (tmp_path / "r2").write_text("a b d e\nq r\nx\n")
    tsv = "a b c d\ta b c e\ta b d e\n\tq\tq r\nx y\tx y\tx\n"
    chosen = ["--bleu", "--wer", "--rouge", "--signature"]
    files = [tmp_path / "hyp", "--ref", tmp_path / "r1", "--ref", tmp_path / "r2"]
    out, _ = run(*chosen, *files)
    assert out == run(*chosen, stdin=tsv)[0]
    assert "BLEU|nrefs:2|" in out


def test_columns_by_number_by_name_and_in_parallel_files(tmp_path):
    swapped = "id\tref\thyp\n1\ta b\ta b\n2\tc\td\n"
    by_name, _ = run("--wer", "--columns", "hyp,ref", stdin=swapped)
    by_number, _ = run("--wer", "--columns", "3,2", stdin=swapped.split("\n", 1)[1])
    assert by_name == by_number == "WER\t0.333333\n"
    (tmp_path / "h").write_text("id\ttext\n1\ta b\n2\td\n")
    (tmp_path / "r").write_text("text\tid\na b\t1\nc\t2\n")
    paired, _ = run("--wer", tmp_path / "h", "--ref", tmp_path / "r", "--columns", "text")
    assert paired == by_name
    _, err = run("--wer", "--columns", "hyp,reff", stdin=swapped, check=3)
    assert "no column 'reff'" in err


def test_line_ends_and_marks_of_the_stream_contract():
    assert run("--exact-match", stdin=b"\xef\xbb\xbfa\ta\r\nI\tU\r\n\xc2\x85\t\xc2\x85")[0] == (
        "EXACT_MATCH\t0.666667\n"
    )


def test_a_missing_reference_or_bad_bytes_refuse_the_whole_figure():
    lines = b"a\ta\nno reference\n\xff\ta\n"
    out, err = run("--wer", stdin=lines, check=3)
    assert out == ""
    assert "standard input:2: 1 column" in err and "standard input:3: not UTF-8" in err
    assert "2 unusable lines" in err
    out, err = run("--wer", "--skip-bad", stdin=lines)
    assert out == "WER\t0.000000\n" and "2 unusable lines: left out" in err


def test_unequal_files_are_refused_with_both_counts(tmp_path):
    (tmp_path / "hyp").write_text("a\nb\n")
    (tmp_path / "ref").write_text("a\nb\nc\n")
    out, err = run(tmp_path / "hyp", "--ref", tmp_path / "ref", check=3)
    assert out == "" and "2 lines" in err and "3 lines" in err and "Traceback" not in err


def test_empty_input_is_no_failure():
    out, err = run("--bleu", stdin="")
    assert out == "" and "no lines" in err


def test_per_line_answers_every_line_in_place():
    lines = "the cat\tthe cat\n\tgone\nno reference\nthe dog\tthe cat\n"
    out, err = run("--per-line", "--bleu", "--wer", stdin=lines, check=3)
    rows = out.split("\n")
    assert rows[0] == "100.0000\t0.000000"
    assert rows[1] == "0.0000\t1.000000"
    assert rows[2] == ""
    assert rows[3].endswith("\t0.500000")
    assert len(rows) == 5 and "standard input:3" in err
    as_json, _ = run("--per-line", "--wer", "--json", "--skip-bad", stdin=lines)
    assert [json.loads(row) for row in as_json.split("\n")[:2]] == [{"WER": 0.0}, {"WER": 1.0}]


def test_per_line_answers_a_slow_producer_at_once():
    process = subprocess.Popen(
        [*ATTN, "--per-line", "--exact-match"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    for line, answer in ((b"a\ta\n", b"1.000000\n"), (b"a\tb\n", b"0.000000\n")):
        process.stdin.write(line)
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 60)[0], "no answer while the pipe is open"
        assert process.stdout.readline() == answer
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


def test_head_ends_quietly(tmp_path):
    (tmp_path / "lines").write_text("a\ta\n" * 50_000)
    process = subprocess.Popen(
        [*ATTN, "--per-line", "--exact-match", tmp_path / "lines"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 141, -13)
    process.stderr.close()


def test_json_holds_score_counts_and_signature():
    out, _ = run("--bleu", "--wer", "--json", stdin="a b c d e\ta b c d f\n")
    told = json.loads(out)
    assert told["WER"].pop("signature").startswith("nrefs:1|case:mixed")
    counts = {"substitutions": 1, "deletions": 0, "insertions": 0, "reference_words": 5}
    assert told["WER"] == {"score": 0.2, **counts}
    assert told["BLEU"]["hyp_len"] == 5 and told["BLEU"]["signature"].startswith("nrefs:1|case")


def test_bootstrap_and_baseline_add_lines_of_their_own(tmp_path):
    hypotheses = ["the cat sat on the mat", "a dog ran far away"] * 8
    (tmp_path / "hyp").write_text("".join(f"{line}\n" for line in hypotheses))
    (tmp_path / "base").write_text("".join(f"{line.upper()}\n" for line in hypotheses))
    files = [tmp_path / "hyp", "--ref", tmp_path / "hyp", "--baseline", tmp_path / "base"]
    out, _ = run(*files, "--bleu", "--exact-match", "--bootstrap", "50", "--seed", "3")
    told = figures(out)
    for name, best in (("BLEU", 100.0), ("EXACT_MATCH", 1.0)):
        assert told[name] == told[f"{name}.mean"] == pytest.approx(best)
        assert told[f"{name}.ci95"] == told[f"{name}.baseline"] == 0.0
        assert told[f"{name}.p_bootstrap"] == pytest.approx(1 / 51, abs=0.02)
        assert told[f"{name}.p_randomization"] < 0.01


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bleuu"], "bleu"),
        (["--tokenize", "13b"], "13a"),
        (["--per-line", "--bootstrap", "9"], "exclude"),
        (["--ppl", "--bleu"], "second run"),
        (["--ppl", "--log-prob"], "one of them"),
        (["--columns", "1"], "2 columns are needed"),
        (["-", "--ref", "-"], "standard input"),
        (["--bootstrap", "1"], "below 2"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(arguments, said):
    out, err = run(*arguments, stdin="a\ta\n", check=2)
    assert out == "" and said in err and "Traceback" not in err


def test_a_missing_file_exits_3(tmp_path):
    assert "No such file" in run(tmp_path / "none", check=3)[1]


def test_options_from_toml(tmp_path):
    (tmp_path / "score.toml").write_text("wer = true\nlowercase = true\n")
    assert run("--config", tmp_path / "score.toml", stdin="A\ta\n")[0] == "WER\t0.000000\n"


def test_a_terminal_gets_a_table():
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*ATTN, "--wer"], stdin=subprocess.PIPE, stdout=theirs)
    process.communicate(b"a\tb\n")
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "metric" in shown and "1.0000" in shown and "WER\t" not in shown


@pytest.mark.parametrize(
    "arguments", [["--help"], ["score", "--bleu", "--wer"], ["tokenize", "--help"]]
)
def test_torch_stays_unimported(arguments):
    code = (
        "import sys, attn_cli.cli\n"
        f"sys.argv = ['attn', *{arguments}]\n"
        "status = attn_cli.cli.main()\n"
        "heavy = {'torch', 'rich', 'transformers', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"a\ta\n", capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_numbers_of_the_sacrebleu_command_on_a_real_test_set(data_dir):
    folder = data_dir / "metrics" / "wmt17_en_de"
    files = [folder / "online-A.0.de", "--ref", folder / "reference.de"]
    told = figures(run("--bleu", *files)[0])
    assert told["BLEU"] == pytest.approx(20.7965, abs=2e-4)  # its byte-order mark is dropped


FAKE_SCORER = """
import sys, types
from attn_cli.cli import main
from attn_cli.lines.columns import Columns

class Scored:
    def __init__(self, text):
        self.log_prob, self.tokens = -float(len(text)), 2

def score_stream(path, reader, spec, runtime, bad):
    assert (path, runtime.threads) == ("some-model", 1)
    columns = Columns.parse(spec, 2)
    for line in reader:
        fields = columns.pick(line.text)
        if isinstance(fields, str):
            bad.add(reader.name, line.number, fields)
            yield None
        else:
            yield Scored(fields[0][1])

sys.modules["attn_cli.systems.generation.scorer"] = types.SimpleNamespace(score_stream=score_stream)
sys.argv = ["attn", "score", *sys.argv[1:], "--threads", "1", "-m", "some-model"]
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "out"),
    [
        (["--log-prob"], b"x\tabc\ny\t\n", 0, b"-3.000000\n-0.000000\n"),
        (["--log-prob"], b"x\tabc\nbad\ny\tab\n", 3, b"-3.000000\n\n-2.000000\n"),
        (["--log-prob", "--json"], b"x\tabc\n", 0, b'{"log_prob": -3.0}\n'),
        (["--ppl"], b"x\tabc\ny\ta\n", 0, b"PPL\t2.718282\n"),  # exp(4 / 4)
        (["--ppl"], b"x\tabc\nbad\n", 3, b""),
        (["--ppl", "--skip-bad"], b"x\tab\nbad\n", 0, b"PPL\t2.718282\n"),
        (["--ppl"], b"", 0, b""),
    ],
)
def test_model_scores_become_lines_or_a_perplexity(arguments, stdin, status, out):
    command = [sys.executable, "-c", FAKE_SCORER, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True)
    assert (done.returncode, done.stdout) == (status, out), done.stderr.decode()


def test_case_and_stems_count_unless_they_shall_not():
    assert run("--exact-match", stdin="A b\ta B\n")[0] == "EXACT_MATCH\t0.000000\n"
    assert run("--exact-match", "--lowercase", stdin="A b\ta B\n")[0] == "EXACT_MATCH\t1.000000\n"
    stemmed, plain = (
        figures(run("--rouge", *more, stdin="jumped\tjumping\n")[0])["ROUGE-1"]
        for more in ((), ("--no-stem",))
    )
    assert (stemmed, plain) == (1.0, 0.0)


def test_verbose_says_how_many_lines_count_and_quiet_does_not():
    told = [run("--wer", *more, stdin="a\ta\nb\tb\n") for more in ((), ("--verbose",))]
    assert [err for _, err in told] == ["", "2 lines to score\n"]
    assert run("--wer", "--verbose", "--quiet", stdin="a\ta\n")[1] == ""
    assert told[0][0] == told[1][0]
