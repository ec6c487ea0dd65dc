"""Tables, and the one way from prompts to an array of token ids."""

import numpy as np
from helpers.studies import random_prompts

from apmae.study.artifacts import PROMPTS, token_ids


def test_token_ids_are_the_prompts_in_order():
    prompts = random_prompts(count=5, encoder_count=2)
    ids = token_ids(prompts)
    assert ids.dtype == np.int32
    assert ids.tolist() == prompts["input_ids"].to_list()
    ids[0] = 0  # a copy, as tensors made of it may be written to
    assert prompts["input_ids"][0].to_list() != [0] * ids.shape[1]


def test_no_prompts_have_no_token_ids():
    assert token_ids(PROMPTS.of_rows()).shape == (0, 0)


def test_a_table_casts_and_orders_its_columns():
    table = PROMPTS.cast(random_prompts().select(reversed(PROMPTS.columns)))
    assert table.schema == PROMPTS.schema
