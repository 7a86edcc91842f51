"""Pools of a few pictures, drawn once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sugar.foundation import pools

SIZE_PX = 32


@pytest.fixture(scope="session")
def pool_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="session")
def identities(pool_folder: Path) -> pools.Pool:
    return pools.draw_identity_pool(pool_folder, 24, 3, SIZE_PX)


@pytest.fixture(scope="session")
def clips(pool_folder: Path) -> pools.Pool:
    return pools.draw_clip_pool(pool_folder, 6, 9, SIZE_PX)
