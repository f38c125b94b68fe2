"""`attn score` as a user meets it: real pipes, real files, exit codes, stdout and stderr apart."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios

import pytest
from program import attn, forked_python

ATTN = [sys.executable, "-m", "attn_cli", "score"]


def run(*arguments, stdin=b"", check=0):
    """Runs `attn score`; returns its stdout as text, its stderr as text."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    done = attn("score", *arguments, stdin=stdin, status=check)
    return done.out.decode(), done.said


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


def test_unusable_lines_are_named_and_the_rest_is_scored():
    lines = b"a\ta\nno reference\n\xff\ta\nc\tb\n"
    out, err = run("--wer", stdin=lines, check=3)
    assert out == "WER\t0.500000\n"
    assert "standard input:2: 1 column" in err and "standard input:3: not UTF-8" in err
    assert "2 unusable lines: left out of the score" in err
    assert json.loads(run("--wer", "--json", stdin=lines, check=3)[0])["WER"]["score"] == 0.5
    out, err = run("--wer", "--skip-bad", stdin=lines)
    assert out == "WER\t0.500000\n" and "2 unusable lines: left out" in err


def test_one_file_where_two_are_needed_is_said_once(tmp_path):
    (tmp_path / "hyp").write_text("a line\n" * 100)
    out, err = run(tmp_path / "hyp", check=3)
    assert out == "" and err.count("\n") == 1
    assert "hyp:1: 1 column, but column 2 is needed, in this and all other lines (100)" in err
    assert "name the references' file with --ref" in err
    (tmp_path / "hyp").write_text("only\n")
    assert "--ref" in run(tmp_path / "hyp", check=3)[1]
    out, err = run("--per-line", "--bleu", stdin="a\nb\n", check=3)
    assert out == "\n\n" and err.count("\n") == 1
    # Lines that could be used say which ones are meant: then each of the others is named.
    mixed = run("--wer", stdin="a\nb\nc\tc\nd\n", check=3)[1]
    assert [f"standard input:{n}: 1 column" in mixed for n in (1, 2, 3, 4)] == [1, 1, 0, 1]
    many = run("--wer", stdin="a\n" * 30 + "c\tc\n", check=3)[1]
    assert many.count("1 column") == 10 and "only counted" in many and "30 unusable" in many


def test_unequal_files_are_refused_with_both_counts(tmp_path):
    (tmp_path / "hyp").write_text("a\nb\n")
    (tmp_path / "ref").write_text("a\nb\nc\n")
    out, err = run(tmp_path / "hyp", "--ref", tmp_path / "ref", check=3)
    assert out == "" and "2 lines" in err and "3 lines" in err and "Traceback" not in err


def test_no_lines_are_no_score(tmp_path):
    out, err = run("--bleu", stdin="", check=3)
    assert out == "" and "standard input: no lines, no score" in err
    for name in ("hyp", "ref"):
        (tmp_path / name).write_text("")
    assert "hyp: no lines" in run(tmp_path / "hyp", "--ref", tmp_path / "ref", check=3)[1]
    assert run("--bleu", "--per-line", stdin="") == ("", "")


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
    verdicts = [line for line in out.splitlines() if ".verdict\t" in line]
    assert verdicts == ["BLEU.verdict\tbetter", "EXACT_MATCH.verdict\tbetter"]
    told = figures("\n".join(line for line in out.splitlines() if line not in verdicts))
    for name, best in (("BLEU", 100.0), ("EXACT_MATCH", 1.0)):
        assert told[name] == told[f"{name}.mean"] == pytest.approx(best)
        assert told[f"{name}.ci95_half_width"] == told[f"{name}.baseline"] == 0.0
        assert told[f"{name}.difference"] == told[name]
        assert told[f"{name}.p_bootstrap"] == pytest.approx(1 / 51, abs=0.02)
        assert told[f"{name}.p_randomization"] < 0.01


EVERY_METRIC = {
    "--bleu --chrf --chrf++ --ter --wer --cer --rouge --rouge-lsum --exact-match": "a b c {}",
    "--accuracy --f1 --mcc": "label{}",
    "--multilabel-f1": "x,label{}",
    "--span-f1": "B-X O B-Y{}",
    "--pearson --spearman": "{}",
    "--squad": "answer {}",
}


@pytest.mark.parametrize("flags", EVERY_METRIC)
def test_a_system_against_itself_has_p_1_in_every_metric(flags, tmp_path):
    """Half of the lines are right, so that draws differ; and one line of 60 proves nothing."""
    text = EVERY_METRIC[flags]
    hypotheses = [text.format(i % 7) for i in range(60)]
    references = [text.format(i % 7 if i % 2 else 3) for i in range(60)]
    almost = [references[0], *hypotheses[1:]]
    for name, lines in (("hyp", hypotheses), ("ref", references), ("almost", almost)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    files = (tmp_path / "hyp", "--ref", tmp_path / "ref", "--json", "--bootstrap", "200")
    same = json.loads(run(*files, *flags.split(), "--baseline", tmp_path / "hyp")[0])
    assert same
    for name, told in same.items():
        assert told["p_bootstrap"] == told["p_randomization"] == 1.0, name
        assert (told["difference"], told["verdict"]) == (0.0, "not significant"), name
    nearly = json.loads(run(*files, *flags.split(), "--baseline", tmp_path / "almost")[0])
    for name, told in nearly.items():
        assert told["p_randomization"] == 1.0, name  # a swap of one line is a tie
        assert told["p_bootstrap"] > 0.05 and told["verdict"] == "not significant", name


def test_the_help_says_where_significance_is_not_sacrebleus():
    text = " ".join(run("--help")[0].split())
    assert "count against" in text and "sacreBLEU counts them for it" in text, text


def test_errors_are_better_where_they_are_fewer(tmp_path):
    (tmp_path / "ref").write_text("a b c d\n" * 20)
    (tmp_path / "bad").write_text("a x c y\n" * 20)
    flags = ["--wer", "--ter", "--bleu", "--json"]
    pairs = (("ref", "bad", "better"), ("bad", "ref", "worse"))
    for hyp, base, verdict in pairs:
        files = [tmp_path / hyp, "--ref", tmp_path / "ref", "--baseline", tmp_path / base]
        told = json.loads(run(*files, *flags)[0])
        assert {each["verdict"] for each in told.values()} == {verdict}


PEAK = """
import resource, sys
from attn_cli.cli import main
sys.argv = ["attn", "score", *sys.argv[1:]]
status = main()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize("more", [[], ["--bootstrap", "20", "--baseline"]])
def test_memory_does_not_grow_with_the_lines(more, tmp_path):
    """Neither where lines are resampled: n-grams took 60 KiB a line, 160 MiB here."""
    peaks = []
    for n_lines in (200, 3_000):
        for name, word in (("hyp", "one"), ("ref", "two"), ("base", "six")):
            lines = (f"{word} or {i % 9} more words of text {i}\n" for i in range(n_lines))
            (tmp_path / name).write_text("".join(lines))
        files = [tmp_path / "hyp", "--ref", tmp_path / "ref", "--bleu", "--chrf", *more]
        files += [tmp_path / "base"] if more else []
        command = [sys.executable, "-c", PEAK, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] < peaks[0] + 20_000  # KiB


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bleuu"], "bleu"),
        (["--normalize", "--bleu"], "--wer"),
        (["--sentence-mark", "<q>", "--rouge"], "--rouge-lsum"),
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


def test_a_missing_file_is_wrong_usage(tmp_path):
    assert "No such file" in run(tmp_path / "none", check=2)[1]


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


def test_nothing_is_cut_by_a_narrow_terminal(tmp_path):
    (tmp_path / "hyp").write_text("a b c\n" * 9)
    files = [tmp_path / "hyp", "--ref", tmp_path / "hyp", "--baseline", tmp_path / "hyp"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    flags = ["--wer", "--bleu", "--signature", "--bootstrap", "9"]
    done = subprocess.run([*ATTN, *files, *flags], stdout=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode().replace("\r\n", "\n")
    os.close(ours)
    assert done.returncode == 0 and "\u2026" not in shown
    printed = run(*files, *flags)[0].splitlines()
    for line in printed:
        name, value, *signature = line.split("\t")
        assert not signature or f"\n{signature[0]}\n" in shown
        assert name.rpartition(".")[2].replace("_", " ") in shown
        assert value[:6] in shown


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
        (["--ppl"], b"x\tabc\ny\ta\nbad\n", 3, b"PPL\t2.718282\n"),
        (["--ppl"], b"bad\n", 3, b""),
        (["--ppl", "--skip-bad"], b"x\tab\nbad\n", 0, b"PPL\t2.718282\n"),
        (["--ppl"], b"", 3, b""),
    ],
)
def test_model_scores_become_lines_or_a_perplexity(arguments, stdin, status, out):
    command = [*forked_python(), "-c", FAKE_SCORER, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True)
    assert (done.returncode, done.stdout) == (status, out), done.stderr.decode()


def test_blank_lines_are_left_out_of_a_perplexity_aloud():
    blank_is_none = "        if not line.text:\n            yield None\n            continue\n"
    at = "        fields = columns.pick"
    command = [*forked_python(), "-c", FAKE_SCORER.replace(at, blank_is_none + at), "--ppl"]
    done = subprocess.run(command, input=b"x\tab\n\n\n", capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"PPL\t2.718282\n")
    assert b"2 blank lines left out of the perplexity" in done.stderr


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
