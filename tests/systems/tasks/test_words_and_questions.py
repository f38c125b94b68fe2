"""Taggers and question answerers as a user makes and runs them."""

from __future__ import annotations

import json
import random
import subprocess
import threading

import pytest
from program import ENVIRONMENT, attn, forked_command, inside

NAMES, SURNAMES, PLACES = (
    ["anna", "bob", "cara", "dan"],
    ["king", "smith"],
    ["lima", "oslo", "rome"],
)
OTHER = ["a", "book", "film", "in", "saw", "song", "the", "was"]
SMALL = (
    *("--size", "tiny", "--type", "word", "--vocab-size", 24, "--threads", 1, "--device", "cpu"),
    *("--warmup", 5, "--lr", 3e-3, "--max-len", 16),
)


def log(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def best(folder, name):
    return [entry[f"dev_{name}"] for entry in log(folder) if entry["best"]][-1]


def figures(run):
    return {name.lower(): entry["score"] for name, entry in json.loads(run.out).items()}


# --- tagging ---


def sentences(size, seed):
    """Words and tags: names of one or two words, places."""
    rng = random.Random(seed)
    found = []
    for _ in range(size):
        words = []
        for _ in range(rng.randint(2, 7)):
            kind = rng.random()
            if kind < 0.3:
                words.append((rng.choice(NAMES), "B-PER"))
                words += [(rng.choice(SURNAMES), "I-PER")] if rng.random() < 0.5 else []
                words.append((rng.choice(OTHER), "O"))
            elif kind < 0.5:
                words.append((rng.choice(PLACES), "B-LOC"))
            else:
                words.append((rng.choice(OTHER), "O"))
        found.append(words)
    return found


def conll(path, found, *, comments=False):
    lines = []
    for number, words in enumerate(found):
        lines += [f"# sent_id = {number}"] if comments else []
        lines += [f"{word}\t{tag}\t{len(word)}" for word, tag in words] + [""]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    train = conll(folder / "train.conll", sentences(300, 1))
    dev = conll(folder / "dev.conll", sentences(40, 2), comments=True)
    inside(
        *("finetune", train, "--dev", dev, "--task", "tag", *SMALL, "-o", folder / "m"),
        *("--batch-tokens", 300, "--max-epochs", 8),
    )
    return folder


def test_a_tagger_learns_and_decode_and_score_say_what_its_validation_said(tagger):
    run = attn("decode", tagger / "dev.conll", "-m", tagger / "m", "--threads", 1)
    source = (tagger / "dev.conll").read_text().split("\n")[:-1]
    assert len(run.lines) == len(source)
    for line, answer in zip(source, run.lines, strict=True):
        if "\t" in line:
            word, gold, size = line.split("\t")
            assert answer.split("\t") == [word, answer.split("\t")[1], gold, size]
        else:
            assert answer == line  # blank lines and comments
    scored = inside(
        *("score", "--span-f1", "--accuracy", "--columns", "2,3", "--json"), stdin=run.out
    )
    found = figures(scored)
    assert len(found) == 4
    for name, value in found.items():
        assert value == best(tagger / "m", name)
    assert found["span_f1"] > 0.9


def test_parts_of_speech_are_measured_by_accuracy(tmp_path):
    words = [[(w, "FUNCTION" if w in OTHER else "NAME") for w, _ in s] for s in sentences(80, 3)]
    train = conll(tmp_path / "pos.conll", words)
    run = attn(
        *("finetune", "--task", "tag", *SMALL, "-o", tmp_path / "m", "--max-steps", 2),
        stdin=train.read_bytes(),
    )
    assert run.lines == [str(tmp_path / "m")]
    assert "best dev accuracy" in run.said
    assert not list((tmp_path / "m" / "checkpoints").glob("*.txt"))


def test_a_sentence_is_answered_as_soon_as_it_ends(tagger):
    command = [*forked_command(), "decode", "-m", str(tagger / "m"), "--threads", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        watchdog = threading.Timer(300, process.kill)
        watchdog.start()
        for words in (b"anna\nwas\n\n", b"the\nbook\n\n"):
            process.stdin.write(words)
            process.stdin.flush()
            answer = [process.stdout.readline() for _ in range(3)]
            assert [line.split(b"\t")[0] for line in answer[:2]] == words.split()
            assert answer[2] == b"\n"
        process.stdin.write(b"in")  # no end at all
        process.stdin.close()
        assert process.stdout.read().startswith(b"in\t")
        watchdog.cancel()
    assert process.returncode == 0


def test_n_lines_of_words_are_n_lines_whatever_they_are(tagger):
    lines = [
        *("\ufeff# newdoc id = é", "anna\tX\r", "was  late\t\t", "", "  ", "\tno word"),
        *("bob\tkept", "\u2028\tseparator", "\u200b\tnothing", "# a late comment", "", ""),
    ]
    stdin = "\n".join(lines).encode() + b"bad \xff byte\n" + b"ann\xff\tB-X\n" + b"rome\tlast"
    run = attn("decode", "-m", tagger / "m", "--scores", stdin=stdin, status=3)
    answers = [line.split("\t") for line in run.lines]
    assert [line.split(":")[2:4] for line in run.said.split("\n") if "input:" in line] == [
        ["6", " an empty word"],
        ["8", " an empty word"],
        ["12", " not UTF-8 at byte 5"],
        ["13", " not UTF-8 at byte 4"],
    ]
    assert "4 unusable lines: answered with an empty tag" in run.said
    assert [answer[0] for answer in answers] == [
        *("# newdoc id = é", "anna", "was  late", "", "  ", "", "bob", "\u2028", "\u200b"),
        *("# a late comment", "", "\N{REPLACEMENT CHARACTER}", "", "rome"),
    ]
    assert [answer[3:] for answer in answers if len(answer) > 3] == [
        ["X"], ["", ""], ["no word"], ["kept"], ["separator"], ["nothing"], ["B-X"], ["last"],
    ]  # fmt: skip
    assert [run.lines[5], run.lines[11]] == ["\t\t\tno word", "\N{REPLACEMENT CHARACTER}\t\t"]
    assert run.lines[12] == "\t\t\tB-X"
    assert all(0 < float(answer[2]) <= 1 for answer in answers if len(answer) > 3 and answer[1])


def test_what_is_no_word_passes_through_a_tagger_untouched_and_is_not_scored(tagger):
    kept = {
        0: "-DOCSTART-\t-X-\tO",
        1: " ",
        2: "# sent_id = 1",
        4: "2-3\tdoesn't\t_\t_\t_\t_\t_\t_\t_\t_",
        7: "3.1\tx\tx\tX\t_\t_\t_\t_\t2:x\t_",
    }
    words = {3: ("1", "anna", "B-PER"), 5: ("2", "was", "O"), 6: ("3", "late", "O")}
    lines = [kept.get(i) or "\t".join([*words[i], *"_______"]) for i in range(8)]
    stdin = "\n".join(lines).encode()
    run = inside("decode", "-m", tagger / "m", "--columns", "2", stdin=stdin)
    assert {i: run.lines[i] for i in kept} == kept
    assert [line.split("\t")[0] for i, line in enumerate(run.lines) if i in words] == [
        *("anna", "was", "late"),
    ]
    scored = inside(
        *("score", "--accuracy", "--tags", "--columns", "2,4", "--json"),
        stdin="\n".join(run.lines).encode(),
    )
    assert json.loads(scored.out)["ACCURACY"]["gold"] == 3


def test_a_row_without_a_word_does_not_cut_its_sentence(tagger):
    run = attn("decode", "-m", tagger / "m", stdin=b"anna\tB-PER\n\t O\nrome\tB-LOC\n", status=3)
    whole = inside("decode", "-m", tagger / "m", stdin=b"anna\tB-PER\nrome\tB-LOC\n")
    assert run.lines[1] == "\t\t O"
    assert run.lines[::2] == whole.lines


def test_a_word_with_a_space_in_a_file_that_spaces_part_is_refused(tagger):
    stdin = b"george B-PER\nNew York B-LOC\nwent O\n"
    run = attn("decode", "-m", tagger / "m", stdin=stdin, status=3)
    assert "input:2: 3 columns, where the lines before have 2 (a space in a word?" in run.said
    assert run.lines[1] == "New York B-LOC\t"
    assert [line.split("\t")[0::2] for line in run.lines[::2]] == [
        ["george", "B-PER"],
        ["went", "O"],
    ]


def test_columns_and_json_of_a_tagger(tagger):
    stdin = b"1\tanna\tB-PER\n\n2\trome\tB-LOC\n"
    run = inside("decode", "-m", tagger / "m", "--columns", "2", stdin=stdin)
    assert [line.split("\t")[0::2] for line in run.lines] == [["anna", "1"], [""], ["rome", "2"]]
    found = [
        json.loads(line)
        for line in inside(
            "decode", "-m", tagger / "m", "--columns", "2", "--format", "json", stdin=stdin
        ).lines
    ]
    assert [entry["line"] for entry in found] == [1, 2, 3]
    assert (found[2]["word"], found[2]["columns"]) == ("rome", ["2", "B-LOC"])
    assert found[1] == {"line": 2, "columns": []}


def test_a_sentence_of_twenty_times_the_length_has_a_tag_for_every_word(tagger):
    words = random.Random(4).choices([*NAMES, *PLACES, *OTHER], k=320)
    run = inside("decode", "-m", tagger / "m", stdin="\n".join(words).encode())
    assert [line.split("\t")[0] for line in run.lines] == words
    assert all(len(line.split("\t")) == 2 for line in run.lines)


def test_tags_and_answers_are_refused_with_their_place_before_the_first_step(tmp_path):
    (tmp_path / "bad.conll").write_text("anna\tB-PER\nwas\n\nrome\tB-LOC\n")
    run = attn(
        *("finetune", tmp_path / "bad.conll", "--task", "tag", *SMALL, "-o", tmp_path / "m"),
        status=3,
    )
    assert f"{tmp_path}/bad.conll:2: 1 column, but column 2 is needed" in run.said
    assert not (tmp_path / "m" / "config.json").exists()
    (tmp_path / "bad.json").write_text(json.dumps(squad(questions(3, 1), shift=1)))
    run = inside(
        *("finetune", tmp_path / "bad.json", "--task", "qa", *SMALL, "-o", tmp_path / "m"),
        status=3,
    )
    assert "bad.json: article 1, paragraph 2, question '1-1': answer" in run.said
    assert "unusable questions: nothing is trained" in run.said


# --- questions ---


def questions(size, seed):
    """Texts with a name of two words somewhere, of up to 12 times the model's length, or none."""
    rng = random.Random(seed)
    found = []
    for number in range(size):
        words = rng.choices(OTHER, k=rng.choice([5, 8, 12, 30]))
        answer = ""
        if number % 4:
            at = rng.randint(0, len(words))
            answer = f"{rng.choice(NAMES)} {rng.choice(SURNAMES)}"
            words.insert(at, answer)
        context = " ".join(words)
        found.append((f"{seed}-{number}", "the name", context, answer))
    return found


def squad(found, shift=0):
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": name,
                    "question": question,
                    "is_impossible": not answer,
                    "answers": [{"text": answer, "answer_start": context.index(answer) + shift}]
                    if answer
                    else [],
                }
            ],
        }
        for name, question, context, answer in found
    ]
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    for name, size, seed in (("train", 300, 1), ("dev", 60, 2)):
        (folder / f"{name}.json").write_text(json.dumps(squad(questions(size, seed))))
    inside(
        *("finetune", folder / "train.json", "--dev", folder / "dev.json", "--task", "qa"),
        *(*SMALL, "-o", folder / "m", "--batch-tokens", 600, "--max-epochs", 6),
    )
    return folder


def test_a_reader_learns_and_decode_and_score_say_what_its_validation_said(reader):
    stdin = (reader / "dev.json").read_bytes()
    run = attn("decode", "-m", reader / "m", "--threads", 1, stdin=stdin)
    predictions = json.loads(run.out)
    assert list(predictions) == [name for name, *_ in questions(60, 2)]
    many = json.dumps(squad(questions(150, 4))).encode()  # several groups, for several workers
    runs = [
        inside("decode", "-m", reader / "m", "--threads", n, "--format", "json", stdin=many)
        for n in (1, 2)
    ]
    assert runs[0].out == runs[1].out and len(json.loads(runs[0].out)) == 150
    scored = inside("score", "--squad", "--ref", reader / "dev.json", "--json", stdin=run.out)
    found = figures(scored)
    assert len(found) == 2
    for name, value in found.items():
        assert value == best(reader / "m", name)
    assert found["squad_f1"] > 90


def test_answers_are_found_in_any_window_of_a_text_of_twenty_times_the_length(reader):
    rng = random.Random(5)
    lines = []
    for at in (0, 100, 319):
        words = rng.choices(OTHER, k=320)
        words[at] = "cara king"
        lines.append("the name\t" + " ".join(words))
    run = inside(
        "decode", "-m", reader / "m", "--no-answer-threshold", 1000, stdin="\n".join(lines).encode()
    )
    assert run.lines == ["cara king"] * 3


def test_the_threshold_can_be_set_when_decoding(reader):
    path = reader / "dev.json"
    never, always = (
        json.loads(inside("decode", path, "-m", reader / "m", f"--no-answer-threshold={x}").out)
        for x in (-1000, 1000)
    )
    assert set(never.values()) == {""}
    assert "" not in always.values()


def test_the_next_best_answers_have_probabilities(reader):
    path = reader / "dev.json"
    arguments = ("decode", path, "-m", reader / "m", "--format", "json", "--n-best", 3)
    told = json.loads(inside(*arguments).out)
    contexts = {name: context for name, _, context, _ in questions(60, 2)}
    for name, entry in told.items():
        assert entry["answer"] == entry["n_best"][0]["text"]
        assert entry["probability"] == entry["n_best"][0]["probability"]
        probs = [each["probability"] for each in entry["n_best"]]
        assert probs == sorted(probs, reverse=True) and sum(probs) <= 1 + 1e-6
        for each in entry["n_best"]:
            assert contexts[name][each["start"] : each["end"]] == each["text"]


def test_lines_of_question_and_context_are_answered_one_by_one(reader):
    stdin = b"the name\ta song was dan smith in rome\tkept\r\n\nthe name\nthe name\t \n"
    run = attn("decode", "-m", reader / "m", "--no-answer-threshold", 1000, stdin=stdin, status=3)
    assert run.lines == ["dan smith\tkept", "", "", ""]
    assert "standard input:3: 1 column, but column 2 is needed" in run.said
    assert "standard input:4: an empty text" in run.said


def test_fewer_answers_than_asked_for_are_given_and_named(reader, tmp_path):
    options = ("--n-best", 5, "--format", "json", "--no-answer-threshold", 1000)
    stdin = b"the name\tdan\nthe name\ta song was dan smith in rome\n"
    run = inside("decode", "-m", reader / "m", *options, stdin=stdin, status=3)
    sizes = [len(json.loads(line)["n_best"]) for line in run.lines]
    assert sizes[0] < 5 and sizes[1] == 5
    assert (
        f"standard input:1: {sizes[0]} answer{'s' * (sizes[0] > 1)} found of 5 (--n-best)"
        in run.said
    )
    assert "1 unusable line: answered in part" in run.said


def test_more_answers_than_a_beam_is_wide_are_given(reader):
    options = ("--n-best", 12, "--format", "json", "--no-answer-threshold", 1000)
    stdin = b"the name\ta song was dan smith in rome\n"
    (line,) = inside("decode", "-m", reader / "m", *options, stdin=stdin).lines
    texts = [entry["text"] for entry in json.loads(line)["n_best"]]
    assert len(set(texts)) == len(texts) == 12


def test_unusable_questions_are_named_and_the_others_answered(reader, tmp_path):
    value = squad(questions(3, 7))
    value["data"][0]["paragraphs"][1]["context"] = None
    (tmp_path / "q.json").write_text(json.dumps(value))
    run = inside("decode", tmp_path / "q.json", "-m", reader / "m", status=3)
    assert list(json.loads(run.out)) == ["7-0", "7-2"]
    assert "article 1, paragraph 2: no context" in run.said
    assert "1 unusable question: left out" in run.said
    assert inside("decode", "-m", reader / "m", stdin=b'{"data": []}').out == b"{}\n"


def test_a_model_that_only_saw_answers_always_answers(reader, tmp_path):
    found = [question for question in questions(80, 9) if question[3]]
    (tmp_path / "v1.json").write_text(json.dumps(squad(found)))
    inside(
        *("finetune", tmp_path / "v1.json", "--task", "qa", *SMALL, "-o", tmp_path / "m"),
        *("--max-steps", 2),
    )
    run = inside("decode", reader / "dev.json", "-m", tmp_path / "m")
    assert "" not in json.loads(run.out).values()


def test_options_of_answers_are_refused_where_nothing_reads_them(tagger, reader):
    stdin = b"anna\n"
    run = inside("decode", "-m", tagger / "m", "--no-answer-threshold", 1, stdin=stdin, status=2)
    assert "--no-answer-threshold: for models that answer questions" in run.said
    run = inside("decode", "-m", tagger / "m", "--beam", 3, "--align", stdin=stdin, status=2)
    assert f"--beam, --align: {tagger / 'm'} gives answers: leave them out" in run.said
    run = inside("decode", "-m", reader / "m", "--n-best", 2, stdin=stdin, status=2)
    assert "--n-best 2 needs --format json" in run.said
    path = reader / "dev.json"
    run = inside("decode", path, "-m", reader / "m", "--scores", status=2)
    assert "probabilities with --format json" in run.said
    run = inside("decode", path, "-m", reader / "m", "--columns", "2,1", status=2)
    assert "no columns" in run.said


def test_answers_are_no_longer_than_asked_for(reader):
    path = reader / "dev.json"
    usual, short = (
        json.loads(inside("decode", path, "-m", reader / "m", *more).out).values()
        for more in ((), ("--max-answer-len", 1))
    )
    assert max(len(answer.split()) for answer in usual) > 1
    assert max(len(answer.split()) for answer in short) <= 1


def test_a_tagger_learns_iob1_as_bio(tmp_path):
    words = sentences(80, 5)
    words += [[("anna", "B-PER"), ("bob", "B-PER")]]
    old = [
        [
            (word, tag.replace("B-", "I-") if not i or tag[1:] != sentence[i - 1][1][1:] else tag)
            for i, (word, tag) in enumerate(sentence)
        ]
        for sentence in words
    ]
    for name, made in (("bio", words), ("iob1", old)):
        conll(tmp_path / f"{name}.conll", made)
        run = inside(
            *("finetune", tmp_path / f"{name}.conll", "--dev", tmp_path / f"{name}.conll"),
            *("--task", "tag", *SMALL, "-o", tmp_path / name, "--max-steps", 2),
        )
        assert ("tags are IOB1" in run.said) == (name == "iob1")
    for file in ("model.safetensors", "labels.txt"):
        assert (tmp_path / "bio" / file).read_bytes() == (tmp_path / "iob1" / file).read_bytes()
    inside(
        *("finetune", tmp_path / "iob1.conll", "--task", "tag", "--scheme", "bio", *SMALL),
        *("-o", tmp_path / "kept", "--max-steps", 1),
    )
    assert "I-LOC\n" in (tmp_path / "kept" / "labels.txt").read_text()


def test_lines_of_text_are_tagged_word_by_word(tagger):
    texts = ["anna was in rome", "", "the book", "cara king saw bob"]
    by_word = "\n\n".join("\n".join(text.split()) for text in texts if text)
    tags = [
        " ".join(line.split("\t")[1] for line in part.split("\n"))
        for part in inside("decode", "-m", tagger / "m", stdin=by_word.encode())
        .out.decode()
        .strip()
        .split("\n\n")
    ]
    run = inside("decode", "-m", tagger / "m", stdin="\n".join(texts).encode())
    assert run.lines == [tags[0], "", tags[1], tags[2]]
    assert "standard input: lines of text, not CoNLL" in run.said
    one = inside("decode", "-m", tagger / "m", "--format", "json", stdin=b"anna was in rome\n")
    assert json.loads(one.out)["tags"] == tags[0].split()
    gold = inside("decode", "-m", tagger / "m", stdin=f"{texts[0]}\t{tags[0]}\n".encode())
    assert gold.lines == [f"{tags[0]}\t{tags[0]}"]
    assert inside("score", "--accuracy", "--tags", stdin=gold.out).lines == ["ACCURACY\t1.000000"]


def test_attend_reads_text_and_conll_as_a_tagger_does(tagger):
    arguments = ("attend", "-m", tagger / "m", "--format", "tsv")
    text = inside(*arguments, stdin=b"anna was in rome\nthe book\n")
    words = inside(*arguments, stdin=b"anna\nwas\nin\nrome\n\nthe\nbook\n")
    spaced = inside(*arguments, stdin=b"anna B-PER\nwas O\nin O\nrome B-LOC\n\nthe O\nbook O\n")
    drop = [[line.split("\t")[1:] for line in run.lines] for run in (text, words, spaced)]
    assert drop[0] == drop[1] == drop[2] and len(drop[0]) > 8
    assert "lines of text" in text.said and not words.said and not spaced.said
