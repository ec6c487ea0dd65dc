import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.toy_models.rows import (
    IGNORED_LABEL,
    WINDOW_CHARACTERS,
    Rows,
    code_windows,
    comment_fraction,
    draw_length,
    draw_middle,
    fim_example,
)
from experiments.toy_models.tokenizer import END, MIDDLE, PAD, PREFIX, SUFFIX, train_tokenizer

CODE = "".join(f"    int value{number} = other.call({number});\n" for number in range(400))
LENGTH = 64


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([CODE], vocabulary=400)


def rows(tokenizer, fim_rate, text=CODE, seed=0):
    return Rows([text], tokenizer, LENGTH, fim_rate, seed)


def decoded(tokenizer, ids):
    return tokenizer.decode(ids.tolist(), skip_special_tokens=False)


def test_a_causal_row_is_a_run_of_the_text(tokenizer):
    made = rows(tokenizer, fim_rate=0.0)
    for number in range(20):
        row = made[number]
        assert decoded(tokenizer, row["input_ids"]) in CODE
        assert row["input_ids"].shape == (LENGTH,)
        assert row["labels"].tolist() == row["input_ids"].tolist()


def test_fim_examples_put_back_in_order_are_a_run_of_the_text(tokenizer):
    made = rows(tokenizer, fim_rate=1.0)
    for number in range(20):
        text = decoded(tokenizer, made[number]["input_ids"]).replace(PAD, "")
        nothing, *examples = text.split(PREFIX)
        assert not nothing
        together = ""
        for example in examples:
            left, rest = example.split(SUFFIX)
            right, middle = rest.split(MIDDLE)
            assert middle
            together += left + middle.split(END)[0] + right
        assert together in CODE


def test_nothing_predicts_a_sentinel_and_three_places_predict_the_first_token_of_the_middle(tokenizer):
    ids = dict(zip((END, PREFIX, MIDDLE, SUFFIX), range(4), strict=True))
    encode = lambda text: [ord(letter) for letter in text]  # noqa: E731
    a, b, c, d = encode("abcd")
    no = IGNORED_LABEL
    assert fim_example("abcd", 1, 2, encode, ids) == (
        [1, a, 3, c, d, 2, b, 0],
        [no, a, b, b, d, no, b, 0],
    )
    assert fim_example("ab", 1, 2, encode, ids) == ([1, a, 3, 2, b, 0], [no, a, b, b, b, 0])
    assert fim_example("bc", 0, 1, encode, ids) == ([1, 3, c, 2, b, 0], [no, b, b, no, b, 0])


def test_a_short_file_is_padded_and_the_padding_has_no_label(tokenizer):
    row = rows(tokenizer, fim_rate=0.0, text="int value1;\n")[0]
    ids = [*tokenizer.encode("int value1;\n").ids, tokenizer.token_to_id(END)]
    padding = LENGTH - len(ids)
    assert row["input_ids"].tolist() == ids + padding * [tokenizer.token_to_id(PAD)]
    assert row["labels"].tolist() == ids + padding * [IGNORED_LABEL]


def test_a_row_depends_on_its_number_and_the_seed_alone(tokenizer):
    one, other = rows(tokenizer, 0.5), rows(tokenizer, 0.5)
    last = 2 * len(one) + 1
    expected = other[last]["input_ids"].tolist()
    assert one[3]["input_ids"].tolist() != expected
    assert one[last]["input_ids"].tolist() == expected
    assert rows(tokenizer, 0.5, seed=1)[last]["input_ids"].tolist() != expected


def test_an_epoch_visits_every_window_once(tokenizer):
    made = rows(tokenizer, 0.5)
    assert len(made) == len(code_windows(CODE)) > 10
    orders = [made._order(epoch).tolist() for epoch in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(made)))
    assert orders[0] != orders[1]


def test_the_rate_of_fill_in_the_middle(tokenizer):
    made = rows(tokenizer, 0.5)
    prefix = tokenizer.token_to_id(PREFIX)
    count = sum(int(made[number]["input_ids"][0]) == prefix for number in range(200))
    assert 75 < count < 125


def test_comment_share():
    assert comment_fraction("// ab\n  int\n") == 0.5
    assert comment_fraction("/**\n * a\n */\nint a = 1; // b\n") == pytest.approx(10 / 25)
    assert comment_fraction("") == 0.0


def test_windows_of_comments_are_dropped():
    comment = "// words words\n" * (2 * WINDOW_CHARACTERS // 15 + 1)
    code = "int a = 1 + 1;\n" * (WINDOW_CHARACTERS // 15 + 1)
    assert code_windows(comment[: 2 * WINDOW_CHARACTERS] + code) == [2 * WINDOW_CHARACTERS]
    assert code_windows("int a;\n") == [0]


@given(st.text(min_size=1), st.integers(0, 2**32 - 1))
def test_a_middle_lies_in_the_text_and_is_not_empty(text, seed):
    start, end = draw_middle(text, np.random.default_rng(seed))
    assert 0 <= start < end <= len(text)


def test_half_of_the_middles_are_one_word_and_the_others_log_uniform():
    generator = np.random.default_rng(0)
    drawn = [draw_middle("ab  " * 500, generator) for _ in range(4_000)]
    assert all(place % 2 == 0 for middle in drawn for place in middle)
    lexemes = np.array([(end - start) // 2 for start, end in drawn])
    for low, high, share in ((1, 10, 4 / 6), (10, 100, 1 / 6), (100, 1_000, 1 / 6)):
        assert ((lexemes >= low) & (lexemes < high)).mean() == pytest.approx(share, abs=0.03)
    assert np.mean([middle[0] % 4 == 0 for middle in drawn]) == pytest.approx(3 / 4, abs=0.03)


def test_no_cut_lies_in_a_word_or_an_operator_and_a_line_break_is_one_lexeme():
    text = "if (size >>>= 10 && !done)\n    return;"
    generator = np.random.default_rng(0)
    cuts = {place for _ in range(1_000) for place in draw_middle(text, generator)}
    words = (
        "if",
        " ",
        "(",
        "size",
        " ",
        ">>>=",
        " ",
        "10",
        " ",
        "&&",
        " ",
        "!",
        "done",
        ")",
        "\n",
        "    ",
        "return",
        ";",
    )
    assert cuts == {0, *np.cumsum([len(word) for word in words])}


@given(st.integers(20, 400), st.integers(0, 2**32 - 1))
def test_an_example_fits(room, seed):
    assert 20 <= draw_length(room, np.random.default_rng(seed)) <= room
