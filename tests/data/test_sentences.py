"""Where sentences end: by the careful rule, in several languages, whatever the text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_cli.data.long_input import split_long
from attn_cli.data.sentences import ends_sentence, split_sentences

# Each a text whose sentences are parted by |, which stands for one space.
TEXTS = {
    "plain": "He left.|She stayed.|Why?|Nobody knows!",
    "abbreviations": "Dr. Smith met Mr. J. R. Jones, e.g. at St. Mary's.|They spoke, cf. Fig. 3.",
    "closing abbreviations": "It costs $5.3 at Acme Inc. in the U.S. and more.|At 5 p.m. it ends.",
    "abbreviations at an end": "He works at Acme Inc.|The firm is old.|It ends at 5 p.m.|We go.",
    "numbers": "Pi is 3.14.|In 1999 it was 2.|The 10. place of 100.|No. 5 is alive.|No.|Not so.",
    "lists": "1. Introduction and more.|It begins.",
    "ellipsis": "Well... maybe not.|So… no?!|Wait...|Then he came.",
    "quotes": '"Really?" he asked.|"Yes."|“It is.”|(It was.)|\'No!\'|He left.',
    "closing brackets": "He left (at noon).|(She stayed.)|They met [later.]|End.",
    "small letters": "the iPhone.|Is good. or bad?|2 more.",
    "urls": "See www.example.org/a.b?c=d. for more.|Mail a.b@c.de now.",
    "German": "Am 3. Oktober kam z. B. Dr. Meier.|Er blieb bis ca. 5 Uhr usw..|„Ach.“|»Nein!«",
    "French": "« Bonjour ! » dit-il.|« Ça va ? »|M. Dupont et Mme. Durand viennent.|Oui.",
    "Spanish": "¿Qué pasa?|¡Nada!|El Sr. García y la Sra. López viven en EE.UU. desde 1990.|Sí.",
    "Russian": "Это было в 1990 г. в Москве, т.е. давно.|А. С. Пушкин родился там.|Да!",
    "Hindi": "यह एक वाक्य है।|यह दूसरा है।|क्या?|हाँ।",
    "Arabic": "ما هذا؟|هذا كتاب.|نعم!",
    "Urdu": "یہ ایک کتاب ہے۔|ہاں۔",
    "Georgian": "ეს წიგნია.|ის აქ არის.",
    "Korean": "네.|좋습니다.",
    "Armenian": "Սա գիրք է։|Այո։",
}


@pytest.mark.parametrize("name", TEXTS)
def test_sentences_of_many_languages(name):
    expected = TEXTS[name].split("|")
    found = split_sentences(" ".join(expected))
    assert [sentence for _, sentence in found] == expected
    assert [space for space, _ in found] == ["", *[" "] * (len(expected) - 1)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("你好。你是谁？我！", ["你好。", "你是谁？", "我！"]),
        ("“你好。”他说。再见。", ["“你好。”", "他说。", "再见。"]),
        ("「行く。」と言った。終わり。", ["「行く。」と言った。", "終わり。"]),
        ("我爱你 。 真的", ["我爱你 。", "真的"]),
    ],
)
def test_wide_stops_need_no_white_space(text, sentences):
    assert [sentence for _, sentence in split_sentences(text)] == sentences


def test_the_white_space_between_sentences_is_told():
    text = "  One.\u00a0\u00a0Two!\u3000Three? \u2028 Four "
    spaces = [space for space, _ in split_sentences(text)]
    assert spaces == ["", "\u00a0\u00a0", "\u3000", " \u2028 "]


@pytest.mark.parametrize("text", ["", " ", "\u3000\n"])
def test_a_blank_text_has_no_sentence(text):
    assert split_sentences(text) == []


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("aB1. !?…。「」»«\"')(\u00a0I\tz-€न।")))
def test_sentences_and_spaces_are_the_text(text):
    found = split_sentences(text)
    assert "".join(space + sentence for space, sentence in found) == text.strip()
    assert all(sentence.strip() == sentence and sentence for _, sentence in found)
    assert all(space == "" or space.isspace() for space, _ in found)


@pytest.mark.parametrize(
    "piece", [". ", "((. ", "a.", "。", ". . (", ".   ", "Mr. ", "!" * 9 + " "]
)
def test_long_texts_take_no_longer_by_the_square(piece):
    text = piece * (100_000 // len(piece))  # by the square: minutes
    assert "".join(space + sentence for space, sentence in split_sentences(text)) == text.strip()


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("He left.", True),
        ('"Why?" ', True),
        ("Gut!«", True),
        ("是。", True),
        ("he left", False),
        ("and Mr.", False),
        ("by J.", False),
        ("well,", False),
        ("", False),
    ],
)
def test_where_a_text_stops(text, ends):
    assert ends_sentence(text) is ends


class Characters:
    """A tokenizer of characters."""

    def encode(self, texts):
        return [list(text) for text in texts]


def test_long_texts_are_cut_at_sentences_before_clauses_and_words():
    cut = split_long("One two; three. Four five, six. Seven", Characters(), 19)
    assert cut == ["One two; three.", "Four five, six.", "Seven"]
    cut = split_long("One two; three four five. Six", Characters(), 18)
    assert cut == ["One two;", "three four five.", "Six"]
    assert split_long("一二三。四五六。七八。", Characters(), 8) == ["一二三。四五六。", "七八。"]
    assert split_long("abcdefgh ij", Characters(), 4) == [*"abcdefgh", "ij"]
