"""Text in one normal form."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.text import (
    fold,
    indexed_text,
    normalize_title,
    search_expression,
    song_name,
    title_grams,
    title_words,
)

ALIKE = {
    "case": ("Björk", "BJÖRK"),
    "composed and decomposed accents": ("Sigur Rós", unicodedata.normalize("NFD", "Sigur Rós")),
    "Hangul syllables and jamo": ("방탄", unicodedata.normalize("NFD", "방탄")),
    "variation selectors": ("❤", "❤\ufe0f"),
    "skin tones": ("🤘", "🤘🏽"),
    "zero-width characters and soft hyphens": ("Rock Steady", "Ro\u200bck Stea\xaddy\ufeff"),
    "zero-width joiners": ("می\u200cخواهم", "میخواهم"),
    "full-width letters": ("ABC", "ＡＢＣ"),
    "half-width kana": ("ガクト", "ｶﾞｸﾄ"),
    "ligatures": ("firestarter", "ﬁrestarter"),
    "sharp s": ("Straße", "STRASSE"),
    "final sigma": ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    "dotted I": ("İstanbul", "istanbul"),
    "dotless i": ("ılık su", "ILIK SU"),
    "curly quotes": ("Don't “Stop”", 'Don’t "Stop"'),
    "an accent as an apostrophe": ("Don't", "Don´t"),
    "dashes": ("A - B", "A – B"),
    "wave dashes": ("ラブ〜", "ラブ～"),
    "fractions": ("½ life", "1/2 LIFE"),
    "named entities": ("R&B", "R&amp;B"),
    "numbered entities": ("Café's", "Caf&#xE9;&#39;s"),
    "entities of entities": ('"x"', "&amp;quot;x&amp;amp;quot;"),
    "white space": ("a b", "\u3000a\t\xa0 b\r\n"),
    "control characters": ("a b", "a\0b"),
}


@pytest.mark.parametrize(
    ("name", "song"),
    [
        ("Help!", "help"),
        ("Help! - Remastered 2009", "help"),
        ("Help! (Live at the Bowl) [2011 Remix]", "help"),
        ("Bad and Boujee (feat. Lil Uzi Vert)", "bad and boujee"),
        ("Stay ft. Somebody", "stay"),
        ("1979 - Remastered", "1979"),
        ("Live and Let Die", "live and let die"),
        ("Alive", "alive"),
        ("Song 2", "song 2"),
        ("Señorita", "senorita"),
        ("(I Can't Get No) Satisfaction - Mono Version", "i can t get no satisfaction"),
        ("(Live)", "live"),
        ("!!!", "!!!"),
    ],
)
def test_a_song_is_the_name_without_what_it_says_of_the_recording(name: str, song: str):
    assert song_name(name) == song


@pytest.mark.parametrize(("one", "other"), ALIKE.values(), ids=ALIKE)
def test_two_spellings_of_one_text_fold_to_one(one: str, other: str):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("क", "कि"), ("か", "が"), ("mø", "mo"), ("R&B&Reggae", "R&B®gae"), ("!!!", "!!"), ("❤", "🔥"), ("+/-", "÷")],
)
def test_different_texts_stay_different(one: str, other: str):
    assert fold(one) != fold(other)


def test_folding_twice_is_folding_once():
    once = [fold(chr(code)) for code in range(0x20000)]

    assert [fold(text) for text in once] == once


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_plain_text_folds_as_it_does_among_other_text(text: str):
    assert fold(f"ß {text} ß") == " ".join(["ss", *fold(text).split(), "ss"])


@given(st.text(st.characters(codec=None)))
def test_a_folded_text_can_be_stored(text: str):
    assert fold(text).encode() is not None


@pytest.mark.parametrize(
    ("title", "normalized"),
    [
        ("Road Trip!", "road trip"),
        ("  R&B / Soul  ", "r b soul"),
        ("R&amp;B", "r b"),
        ("🔥 fire 🔥", "🔥 fire 🔥"),
        ("हिन्दी गाने", "हिन्दी गाने"),
        ("snake_case-title", "snake case title"),
        ("!!!", "!!!"),
        ("÷", "÷"),
        ("", ""),
    ],
)
def test_titles_are_folded_to_words(title: str, normalized: str):
    assert normalize_title(title) == normalized


def test_a_title_says_its_words_and_the_whole_of_it_without_spaces():
    assert title_words("road trip") == {"road", "trip", "roadtrip"}
    assert title_words("") == set()


def test_a_title_says_the_4_grams_of_its_padded_self():
    assert title_grams("chill") == {" chi", "chil", "hill", "ill "}
    assert title_grams("ab") == {" ab "}
    assert title_grams("a") == set()


@given(st.text())
def test_any_title_is_folded_once_and_for_all(title: str):
    folded = normalize_title(title)

    assert folded == folded.strip()
    assert "  " not in folded
    assert all(len(gram) == 4 for gram in title_grams(folded))


@pytest.mark.parametrize(
    ("name", "indexed"),
    [
        ("MØ", "mo"),
        ("Ænima", "aenima"),
        ("Łona", "lona"),
        ("Motörhead", "motorhead"),
        ("Đorđe", "dorde"),
        ("Þórs Þrumur", "thors thrumur"),
        ("Cœur de Pœte", "coeur de poete"),
        ("Seiðr Ħal Ŧaŋa", "seidr hal tana"),
        ("Ɛƒƒe Əlvan", "ɛffe elvan"),
        ("کیوسک مصطفى", "كيوسك مصطفي"),
        ("Ωραία", "ωραια"),
        ("Ёлка", "елка"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("हिन्दी", "हिन्दी"),
        ("東京事変", "東京 京事 事変 変"),
        ("が", "が"),
        ("ラブfeat愛", "ラブ ブ feat 愛"),
        ("Party 🔥🔥", "party 🔥🔥 🔥"),
        ("Don't Stop", "don t stop dont"),
        ("Ke$ha & P!nk", "ke ha p nk keha pnk kesha pink"),
        ("Wow! (Yeah)", "wow yeah"),
        ("東京/事変", "東京 京 事変 変 東京 京事 事変 変"),
        ("+/-", "+/-"),
        ("", ""),
    ],
)
def test_names_are_indexed_in_plain_letters_and_pairs(name: str, indexed: str):
    assert indexed_text(name) == indexed


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("Rock Stead", '"rock" "stead"*'),
        ("go up", '"go" "up"'),
        ("Don't stop", '"don" "t" "stop"* OR "dont" "stop"*'),
        ("p!nk", '"p" "nk" OR "pnk"* OR "pink"*'),
        ("rock, (pop)", '"rock" "pop"*'),
        ("東京事", '"東京 京事"'),
        ("東", '"東"*'),
        ('"+"', '"""+"""'),
        ("...", '"..."'),
        (" \0", ""),
    ],
)
def test_a_query_asks_for_words_and_pairs(text: str, expression: str):
    assert search_expression(text) == expression
