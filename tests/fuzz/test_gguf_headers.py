"""GGUF files whose metadata was changed: it is read or taken for none, in no time and no room.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import os
import random
import struct
import time
import tracemalloc

import gguf
import numpy as np
import pytest

from apmae.common.errors import ApmaeError
from apmae.target_model import Target
from apmae.target_model.gguf_header import general_metadata
from apmae.target_model.weights import find_weights

TRIALS = int(os.environ.get("APMAE_FUZZ", "400"))
HEAD = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
NESTED = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50_000
HOSTILE = {
    "a string longer than the file": HEAD + struct.pack("<IQ", 8, 2**62),
    "a string longer than any": HEAD + struct.pack("<IQ", 8, 2**64 - 1),
    "an array longer than the file": HEAD + struct.pack("<IIQ", 9, 0, 2**62) + b"\0" * 4096,
    "arrays within arrays": HEAD + NESTED,
    "more entries than the file has": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("A Name")
    writer.add_block_count(3)
    writer.add_languages(["en", "é"])
    writer.add_token_list([f"token{number}" for number in range(50)])
    writer.add_tensor("t", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def changed(data, generator):
    """A few bytes replaced, often by numbers that are large or end a range; or cut off."""
    if generator.random() < 0.2:
        return data[: generator.randrange(len(data))]
    number = generator.choice((0, 1, 9, 255, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1))
    put = generator.choice((struct.pack("<Q", number), generator.randbytes(generator.randrange(1, 9))))
    start = generator.randrange(4, len(data))
    return data[:start] + put + data[start + len(put) :]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_the_file_claims_is_not_believed(name, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    began = time.perf_counter()
    assert general_metadata(path) == {}
    taken = time.perf_counter() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**26
    assert taken < 2


def test_changed_metadata_is_read_or_taken_for_none(whole, tmp_path):
    generator = random.Random(0)
    path = tmp_path / "model.gguf"
    read = 0
    for _ in range(TRIALS):
        path.write_bytes(changed(whole, generator))
        found = general_metadata(path)
        assert all(isinstance(key, str) for key in found)
        find_weights(str(path))
        read += bool(found)
    assert 0 < read < TRIALS


def test_a_changed_model_is_refused_in_a_line(whole, tmp_path):
    generator = random.Random(1)
    path = tmp_path / "model.gguf"
    for content in [*HOSTILE.values(), *(changed(whole, generator) for _ in range(TRIALS // 40))]:
        path.write_bytes(content)
        with pytest.raises(ApmaeError) as refused:
            Target.load(str(path), "float32", "cpu")
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) - len(str(path)) <= 300
