import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sugar.config import InputError
from sugar.filtering.aesthetic import load_aesthetic_head


def test_a_single_layer_rates_unit_features(tmp_path):
    weight, bias = torch.randn(1, 6), torch.randn(1)
    save_file({"weight": weight, "bias": bias}, tmp_path / "head.safetensors")
    features = torch.randn(5, 6)
    expected = torch.nn.functional.linear(features / features.norm(dim=1, keepdim=True), weight, bias)[:, 0]
    rate = load_aesthetic_head(tmp_path / "head.safetensors")
    assert rate(3 * features) == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_chain_of_layers_is_one_map(tmp_path):
    chain = torch.nn.Sequential(
        *(torch.nn.Linear(6, 12), torch.nn.Dropout(), torch.nn.Linear(12, 3), torch.nn.Linear(3, 1))
    ).eval()
    torch.save({f"layers.{name}": value for name, value in chain.state_dict().items()}, tmp_path / "head.pth")
    features = torch.nn.functional.normalize(torch.randn(4, 6))
    rate = load_aesthetic_head(tmp_path / "head.pth")
    assert rate(features) == pytest.approx(chain(features)[:, 0].detach().numpy(), abs=1e-5)
    with pytest.raises(InputError, match="wants 6 CLIP features, got 7"):
        rate(np.ones((1, 7)))


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"scale": torch.ones(1)}, "must hold weight and bias"),
        ({"weight": torch.ones(1, 3)}, "must hold weight and bias"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, "must end in one number, got 2"),
    ],
)
def test_other_weights_are_refused(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=message):
        load_aesthetic_head(tmp_path / "head.safetensors")


@pytest.mark.parametrize(
    "name, content", [("a.pth", b"no weights"), ("a.safetensors", b"x"), ("b.pth", None)]
)
def test_files_without_weights_are_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"networks\.aesthetic"):
        load_aesthetic_head(tmp_path / name)
