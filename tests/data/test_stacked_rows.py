import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sugar.config import InputError
from sugar.data.stacked_rows import StackedRows


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return {
        "wide": torch.randn(5, 3, 4),
        "half": torch.randn(5, 7).bfloat16(),
        "count": torch.arange(5, dtype=torch.int64),
        "nothing": torch.empty(5, 0),
    }


def test_rows_land_in_the_places_asked_for(tmp_path, tensors):
    save_file(tensors, tmp_path / "a.safetensors", metadata={"about": "rows"})
    file = StackedRows(tmp_path / "a.safetensors")
    assert file.shapes == {"wide": [3, 4], "half": [7], "count": [], "nothing": [0]}
    found = file.empty(4)
    places, rows = np.array([3, 0, 1, 2]), np.array([4, 4, 0, 2])
    file.read_into(found, places, rows)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name][places], value[rows])


def test_a_file_that_shrank_since_it_was_opened_is_refused(tmp_path, tensors):
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    file = StackedRows(path)
    path.write_bytes(path.read_bytes()[:-30])
    found = file.empty(5)
    with pytest.raises(InputError, match="ends too early"):
        file.read_into(found, np.arange(5), np.arange(5))


def test_what_is_no_safetensors_file_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"hello")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        StackedRows(tmp_path / "a.safetensors")
