import pytest
import torch

from sugar.foundation.augment import SHIFT, ZOOM, blur_some, jitter


def pictures(num: int = 6) -> torch.Tensor:
    return 255 * torch.rand(num, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_jitter_is_a_function_of_its_seed_and_keeps_the_range():
    given = pictures()
    once, again, other = jitter(given, 3), jitter(given, 3), jitter(given, 4)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert once.shape == given.shape
    assert once.min() >= 0 and once.max() <= 255


def test_only_the_pictures_asked_for_are_mirrored():
    given = pictures()
    some = torch.tensor([True, False] * 3)
    mirrored, plain = jitter(given, 3, some), jitter(given, 3)
    assert torch.equal(mirrored[~some], plain[~some])
    ramp = torch.arange(16.0).expand(6, 3, 16, 16)
    slope = jitter(ramp, 3, some).diff(dim=-1).mean((1, 2, 3))
    assert torch.equal(slope < 0, some)


def test_a_bright_spot_stays_within_the_stated_move_and_zoom():
    size = 64
    given = torch.zeros(32, 1, size, size)
    given[:, :, 40:44, 20:24] = 255.0
    moved = jitter(given, 9)
    places = torch.linspace(-1, 1, size)
    weight = moved[:, 0] / moved[:, 0].sum((1, 2), keepdim=True)
    x, y = (weight.sum(1) * places).sum(1), (weight.sum(2) * places).sum(1)
    start_x, start_y = places[20:24].mean(), places[40:44].mean()
    for found, start in ((x, start_x), (y, start_y)):
        reach = (abs(start) + SHIFT) / (1 - ZOOM) - abs(start) + 0.02
        assert float((found - start).abs().max()) <= reach
        assert float((found - start).abs().max()) > 0.02


def test_half_of_the_pictures_stay_sharp():
    given = pictures(200)
    sharp = (blur_some(given, 2) == given).flatten(1).all(1)
    assert float(sharp.float().mean()) == pytest.approx(0.5, abs=0.12)
