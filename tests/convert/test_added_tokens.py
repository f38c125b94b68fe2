"""What stands beside a vocabulary: the same ids as in transformers, or a refusal by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import attn, inside
from test_tokenizers import folder_with, their_ids
from tiny_models import SMALL, VOCABULARY, edit_config, save_bert, save_gpt, transformers

from attn_cli.convert.huggingface_tokenizer import read_tokenizer
from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

PIECES = ["the", "cat", "sat", "covid", "##s", "é", "e", "-"]
TEXTS = [
    "the <e1>cat</e1> sat covid-19s",
    "THE <E1> Cat covid-19",
    "covid-19 covid - 19",
    "[PAD0] the cat [E1]",
    "é <e1>",
]
FIRST = 5 + len(PIECES)  # the first id behind the vocabulary
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
DECODER = {
    str(FIRST): {"content": "<e1>", "special": True, **FLAGS},
    str(FIRST + 1): {"content": "covid-19", "special": False, **FLAGS, "normalized": True},
    str(FIRST + 2): {"content": "[E1]", "special": True, **FLAGS, "lstrip": True},
}


def write(folder: Path, name: str, values: object) -> None:
    (folder / name).write_text(json.dumps(values), encoding="utf-8")


def check(folder: Path, arch: str = "bert", texts: list[str] = TEXTS, cls=None):
    tokenizer = read_tokenizer(folder, arch, pytest.fail)
    theirs = (cls or transformers.BertTokenizerFast).from_pretrained(folder)
    assert tokenizer.encode(texts) == their_ids(theirs, texts)
    return tokenizer, theirs


def test_added_tokens_of_an_older_directory(tmp_path):
    folder = folder_with(tmp_path / "hf", PIECES, {})
    write(folder, "added_tokens.json", {"<e1>": FIRST, "covid-19": FIRST + 1})
    write(folder, "special_tokens_map.json", {"additional_special_tokens": ["<e1>"]})
    tokenizer, _ = check(folder, texts=[text for text in TEXTS if "<E1>" not in text])
    assert tokenizer.pieces(tokenizer.encode(["covid-19s <e1>"])[0])[0] == "covid-19"
    assert FIRST in tokenizer.encode(["<e1>"])[0]


def test_added_tokens_of_a_newer_directory(tmp_path):
    folder = folder_with(tmp_path / "hf", PIECES, {"added_tokens_decoder": DECODER})
    check(folder)
    again = tmp_path / "again"
    transformers.BertTokenizerFast.from_pretrained(folder).save_pretrained(again)
    write(again, "config.json", {"model_type": "bert"})
    assert (again / "tokenizer.json").exists()
    check(again)


def test_added_tokens_come_along_and_back(tmp_path):
    save_bert(tmp_path / "hf", vocab_size=len(VOCABULARY) + 2)
    write(tmp_path / "hf", "added_tokens.json", {"<e1>": len(VOCABULARY)})
    inside("convert", tmp_path / "hf", "-o", tmp_path / "ours")
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    text = ["the <e1>cat"]
    (ids,) = load_tokenizer(str(tmp_path / "ours")).encode(text)
    assert len(VOCABULARY) in ids
    assert their_ids(transformers.AutoTokenizer.from_pretrained(tmp_path / "back"), text) == [ids]


@pytest.mark.parametrize(
    ("name", "values", "cause"),
    [
        ("added_tokens.json", {"<e1>": FIRST + 3}, f"has the id {FIRST + 3}, but {FIRST} comes"),
        ("added_tokens.json", {"cat": 1}, "'cat' has the id 1, but 6 in "),
        ("added_tokens.json", {"<e1>": "x"}, "added_tokens.json: 'x' is no id"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": {}}}, "added_tokens_decoder"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"99": "a"}}, "has the id 99"),
        ("tokenizer_config.json", {"additional_special_tokens": 5}, "a list of tokens"),
        ("tokenizer_config.json", {"never_split": ["a"]}, "never_split ['a'] is not supported"),
        ("tokenizer_config.json", {"do_basic_tokenize": False}, "do_basic_tokenize False"),
        ("tokenizer_config.json", {"clean_text": False}, "clean_text False"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["a.B", None]}}, "auto_map"),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"},
            "tokenizer_class BertJapaneseTokenizer (word_tokenizer_type 'mecab') cuts Japanese",
        ),
        ("tokenizer_config.json", {"word_tokenizer_type": "sudachi"}, "morphological analyser"),
        ("config.json", {"tokenizer_class": "BertJapaneseTokenizer"}, "config.json: tokenizer_cl"),
        ("tokenizer_config.json", {"tokenizer_class": "BertweetTokenizer"}, "'BertweetTokenizer'"),
    ],
)
def test_what_would_cut_texts_otherwise_is_refused_by_name(tmp_path, name, values, cause):
    folder = folder_with(tmp_path / "hf", PIECES, {})
    if name == "config.json":
        (folder / "tokenizer_config.json").unlink()
    write(folder, name, values)
    with pytest.raises(DataError) as error:
        read_tokenizer(folder, "bert", pytest.fail)
    assert cause in str(error.value)


def test_special_tokens_of_other_names(tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    pieces = ["<blank>", "<?>", "<s0>", "<s1>", "<m>", *PIECES]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), pieces, strict=False))
    roles = {f"{role}_token": piece for role, piece in names.items()}
    write(folder, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **roles})
    write(folder, "config.json", {"model_type": "bert"})
    tokenizer, theirs = check(folder, texts=["the zebra cat", "é"])
    ids = {"pad": 0, "unk": 1, "bos": 2, "eos": 3, "mask": 4, "cls": 2, "sep": 3}
    assert tokenizer.special_ids == ids
    save_bert(tmp_path / "bert", vocab_size=SMALL["vocab_size"])
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / "bert" / name).write_bytes((folder / name).read_bytes())
    inside("convert", tmp_path / "bert", "-o", tmp_path / "ours")
    assert load_tokenizer(str(tmp_path / "ours")).special_ids == ids
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert back("the cat", "sat")["input_ids"] == theirs("the cat", "sat")["input_ids"]


def test_a_named_token_that_the_model_has_no_vector_for_is_left_out_and_said(tmp_path):
    save_bert(tmp_path / "hf", vocab_size=len(VOCABULARY))
    write(tmp_path / "hf", "tokenizer_config.json", {"additional_special_tokens": ["<e9>"]})
    said = attn("convert", tmp_path / "hf", "-o", tmp_path / "ours").said
    assert "'<e9>' is no token of the vocabulary" in said


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("json_file", [True, False])
def test_a_space_before_the_first_word_is_as_tokenizer_config_says(tmp_path, spaced, json_file):
    save_gpt(tmp_path / "hf")
    if json_file:
        theirs = transformers.GPT2TokenizerFast.from_pretrained(
            tmp_path / "hf", add_prefix_space=not spaced
        )
        theirs.save_pretrained(tmp_path / "hf")
        for name in ("vocab.json", "merges.txt"):
            (tmp_path / "hf" / name).unlink(missing_ok=True)
    write(
        tmp_path / "hf",
        "tokenizer_config.json",
        {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": spaced},
    )
    tokenizer, _ = check(tmp_path / "hf", "gpt", ["mat sat", " the"], transformers.AutoTokenizer)
    assert tokenizer.pieces(tokenizer.encode(["the cat"])[0])[0].startswith("Ġ") == spaced


@pytest.mark.parametrize("json_file", [True, False])
def test_added_tokens_of_gpt(tmp_path, json_file):
    size = len(json.loads((make_gpt(tmp_path / "hf") / "vocab.json").read_text()))
    save_gpt(tmp_path / "hf", vocab_size=size + 2)
    write(tmp_path / "hf", "added_tokens.json", {"<|user|>": size, "<pad>": size + 1})
    names = {"pad_token": "<pad>", "additional_special_tokens": ["<|user|>"]}
    write(tmp_path / "hf", "special_tokens_map.json", names)
    if json_file:
        transformers.GPT2TokenizerFast.from_pretrained(tmp_path / "hf").save_pretrained(
            tmp_path / "hf"
        )
    texts = ["<|user|>the cat <|user|> sat", "the"]
    tokenizer, _ = check(tmp_path / "hf", "gpt", texts, transformers.AutoTokenizer)
    assert (tokenizer.pad_id, tokenizer.eos_id) == (size + 1, 0)
    assert size in tokenizer.encode(texts)[0]
    inside("convert", tmp_path / "hf", "-o", tmp_path / "ours")
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert their_ids(back, texts) == tokenizer.encode(texts)


def make_gpt(folder: Path) -> Path:
    save_gpt(folder)
    return folder


def test_a_gpt_with_the_vocabulary_of_bert(tmp_path):
    """As Chinese GPT-2 models are published; their config.json names ids of another vocabulary."""
    folder = tmp_path / "hf"
    save_gpt(folder, vocab_size=len(VOCABULARY))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    edit_config(folder, tokenizer_class="BertTokenizer", bos_token_id=50256, eos_token_id=50256)
    (folder / "generation_config.json").unlink(missing_ok=True)
    said = attn("convert", folder, "-o", tmp_path / "ours").said
    assert "eos_token_id 50256 is no token of this tokenizer: its own '[SEP]' is taken" in said
    tokenizer = load_tokenizer(str(tmp_path / "ours"))
    texts = ["the cat中sat", "unknown dogs"]
    theirs = transformers.BertTokenizerFast.from_pretrained(folder)
    assert tokenizer.encode(texts) == their_ids(theirs, texts)
    assert tokenizer.special_ids["bos"] == 2 and tokenizer.special_ids["eos"] == 3
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    options = ("--greedy", "--max-len", 4)
    decoded = inside("decode", "-m", tmp_path / "ours", *options, stdin=b"the cat\n")
    prompt = theirs("[CLS]the cat", add_special_tokens=False, return_tensors="pt")
    special = [0, 1, 2, 4]
    ids = model.generate(
        **{**prompt, "token_type_ids": None},
        max_new_tokens=4,
        do_sample=False,
        eos_token_id=3,
        pad_token_id=0,
        suppress_tokens=special,
    )
    assert decoded.lines == tokenizer.decode([ids[0].tolist()])


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_ids_of_beginning_and_end_are_those_of_the_settings(tmp_path, name):
    folder = tmp_path / "hf"
    theirs = save_gpt(folder)
    piece = load_tokenizer(str(folder)).vocabulary[30]
    (folder / "generation_config.json").unlink(missing_ok=True)
    edit_config(folder, bos_token_id=0, eos_token_id=0)
    if name == "config.json":
        edit_config(folder, bos_token_id=31, eos_token_id=30)
    else:
        write(folder, name, {"bos_token_id": 31, "eos_token_id": [30]})
    inside("convert", folder, "-o", tmp_path / "ours")
    tokenizer = load_tokenizer(str(tmp_path / "ours"))
    assert (tokenizer.bos_id, tokenizer.eos_id) == (31, 30)
    assert tokenizer.vocabulary[30] == piece
    inside("convert", tmp_path / "ours", "--to", "huggingface", "-o", tmp_path / "back")
    back = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "back")
    assert (back.generation_config.bos_token_id, back.generation_config.eos_token_id) == (31, 30)
    assert theirs.config.eos_token_id == 0
    write(folder, "generation_config.json", {"eos_token_id": [30, 31]})
    said = inside("convert", folder, "-o", tmp_path / "two", status=3).said
    assert "generation_config.json: eos_token_id [30, 31]: one alone is supported" in said


def test_a_tokenizer_that_numbers_no_segments(tmp_path):
    """A pair's second text then has the first's segment vector, as in transformers."""
    folder = tmp_path / "hf"
    theirs = save_bert(folder, "BertForSequenceClassification", num_labels=3)
    names = {"tokenizer_class": "BertTokenizer"}
    write(
        folder,
        "tokenizer_config.json",
        {**names, "model_input_names": ["input_ids", "attention_mask"]},
    )
    said = attn("convert", folder, "-o", tmp_path / "ours", "--task", "pair").said
    assert "numbers no segments" in said
    batch = transformers.AutoTokenizer.from_pretrained(folder)(
        "the cat", "sat", return_tensors="pt"
    )
    assert "token_type_ids" not in batch
    probs = theirs(**batch).logits.detach().softmax(-1)[0]
    (line,) = inside("decode", "-m", tmp_path / "ours", "--scores", stdin=b"the cat\tsat\n").lines
    assert float(line.split("\t")[1]) == pytest.approx(float(probs.max()), abs=1e-5)


def test_other_special_tokens_around_a_text_are_refused(tmp_path):
    import tokenizers

    folder = folder_with(tmp_path / "hf", PIECES, {})
    transformers.BertTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    write(folder, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    check(folder, cls=transformers.AutoTokenizer, texts=["the cat"])
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [CLS]", pair="[CLS] $A [CLS] $B", special_tokens=[("[CLS]", 2)]
    )
    engine.save(str(folder / "tokenizer.json"))
    with pytest.raises(DataError, match=r"post_processor puts \[CLS\] \[CLS\] around a text"):
        read_tokenizer(folder, "bert", pytest.fail)
