"""Weights in the provenance: the digest of a folder, the downloaded commit of a hub id."""

import pytest

from sugar.encoders.weights import Weights, made_with


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the hub with one commit of owner/net."""
    from huggingface_hub import constants

    repo = tmp_path / "models--owner--net"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


def test_revisions(hub, tmp_path):
    assert str(Weights("owner/net")) == "owner/net@0123456789ab"
    assert str(Weights("owner/other")) == "owner/other"
    assert str(Weights(str(tmp_path), "f" * 64)) == f"{tmp_path}@{'f' * 12}"


def test_provenance(hub):
    assert made_with("grabcut", ()) == "grabcut"
    networks = [Weights("owner/net"), Weights("owner/other")]
    assert made_with("grounded_sam", networks) == "grounded_sam: owner/net@0123456789ab, owner/other"
