"""A hub id is the commit in the cache: for its digest, and when it is loaded."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from sugar.config import InputError
from sugar.encoders.hub import cached_commit, hub_commit
from sugar.encoders.loading import load_network
from sugar.stages.fingerprints import network_digest

NAME = "owner/dino"


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the cache that says which commit was downloaded."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    file = tmp_path / "models--owner--dino" / "refs" / "main"
    file.parent.mkdir(parents=True)
    file.write_text("c1")
    return file


def test_other_weights_of_the_same_name_are_another_network(main: Path):
    assert network_digest(NAME) == "owner/dino@c1"
    assert network_digest(NAME, "vae") == "owner/dino@c1/vae"
    main.write_text("c2\n")
    assert network_digest(NAME, "vae") == "owner/dino@c2/vae"


def test_a_folder_is_its_files(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert cached_commit(tmp_path) is None
    assert len(network_digest(str(tmp_path))) == 64


def test_what_is_not_in_the_cache_is_asked_for(main: Path, monkeypatch: pytest.MonkeyPatch):
    main.unlink()
    with pytest.raises(InputError, match=r"owner/dino: no such folder, .*: hf download owner/dino, or name"):
        hub_commit(NAME)

    class Hub:
        def model_info(self, name):
            return type("Info", (), {"sha": "c3" * (name == NAME)})

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert hub_commit(NAME) == "c3"


def test_without_a_network_the_next_step_is_told(main: Path, monkeypatch: pytest.MonkeyPatch):
    main.unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(InputError, match=r"owner/dino: .*refused.*: hf download owner/dino") as told:
        network_digest(NAME)
    assert "\n" not in str(told.value)


def test_what_is_neither_a_folder_nor_a_hub_id():
    for name in ("no/such/dir", "--x"):
        with pytest.raises(InputError, match=rf"{name}: no such folder, and not a hub id of the form owner"):
            network_digest(name)


@pytest.mark.parametrize("cached, revision", [(True, "c1"), (False, "main")])
def test_it_is_loaded_at_the_commit_of_its_digest(main: Path, cached: bool, revision: str):
    asked = {}

    class Network:
        @classmethod
        def from_pretrained(cls, name, **options):
            asked.update(options, name=name)
            raise OSError("enough")

    if not cached:
        main.unlink()
    with pytest.raises(InputError, match="enough"):
        load_network(Network, NAME)
    assert (asked["name"], asked["revision"]) == (NAME, revision)
