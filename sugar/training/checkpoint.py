"""Checkpoints that are whole or not there, and fit any ZeRO stage and number of processes.

Every rank writes the fp32 pieces that it owns (masters, AdamW's moments, EMA) as safetensors beside a table
of fragments; rank 0 adds the trainer's record and two `from_pretrained` folders made from those very files,
then a manifest with the SHA-256 of every file. All this happens in a temporary folder, by a background
thread; the folder is renamed when it is complete, and only then are older ones removed. There is no "latest"
file to lie: the newest folder whose manifest holds is the latest.

    checkpoints/PHASE/step-00000200/
        manifest.json                       files -> bytes, sha256
        record.json                         step, identity of the run, history, counters
        state-00000-of-00002.safetensors    flat fp32 tensors of rank 0, state-*.json their fragments
        transformer/, transformer_raw/      EMA and raw weights, for `from_pretrained`
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sugar.config import InputError
from sugar.data.atomic import atomic_path, sha256_file, write_json_atomic
from sugar.training.engine import Fragment

logger = logging.getLogger(__name__)

FORMAT = 1
_STEP = re.compile(r"step-(\d{8})")
_UNFINISHED = ".unfinished-"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
PEER_TIMEOUT_SECONDS = 1800.0

Export = Callable[[Path, Mapping[str, Tensor]], None]


class DamagedCheckpoint(Exception):
    """A checkpoint's files are not those of its manifest."""


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _state_name(rank: int, world_size: int) -> str:
    return f"state-{rank:05d}-of-{world_size:05d}"


def write_state(
    folder: Path,
    rank: int,
    world_size: int,
    fragments: Sequence[Fragment],
    flats: Mapping[str, Sequence[Tensor]],
) -> None:
    """Write one rank's flat tensors, kind -> list, and the table that says what they hold."""
    name = _state_name(rank, world_size)
    tensors = {f"{kind}.{i}": tensor for kind, list_ in flats.items() for i, tensor in enumerate(list_)}
    with atomic_path(folder / f"{name}.safetensors") as temporary:
        save_file(tensors, temporary)
    write_json_atomic(folder / f"{name}.json", [asdict(fragment) for fragment in fragments])


class State:
    """The fp32 state in a checkpoint folder, whatever number of ranks wrote it."""

    def __init__(self, folder: Path) -> None:
        self._pieces: dict[str, list[tuple[Path, Fragment]]] = {}
        for table in sorted(folder.glob("state-*.json")):
            for row in json.loads(table.read_text()):
                fragment = Fragment(**{**row, "shape": tuple(row["shape"])})
                self._pieces.setdefault(fragment.name, []).append(
                    (table.with_suffix(".safetensors"), fragment)
                )
        self._open: dict[Path, Any] = {}

    def _read(self, file: Path, kind: str, fragment: Fragment, start: int, numel: int) -> Tensor:
        if file not in self._open:
            self._open[file] = safe_open(file, framework="pt")
        handle = self._open[file]
        key = f"{kind}.{fragment.flat}"
        if len(handle.get_slice(key).get_shape()) != 1:
            return handle.get_tensor(key).view(-1)[start : start + numel]
        first = fragment.offset + start - fragment.start
        return handle.get_slice(key)[first : first + numel]

    def copy_into(self, kind: str, name: str, start: int, target: Tensor) -> None:
        """Fill `target`, elements `start ...` of the flattened parameter.

        Raises:
            DamagedCheckpoint: the checkpoint does not hold all of them.
        """
        filled = 0
        for file, piece in self._pieces.get(name, ()):
            low, high = max(start, piece.start), min(start + target.numel(), piece.start + piece.numel)
            if low < high:
                target[low - start : high - start].copy_(self._read(file, kind, piece, low, high - low))
                filled += high - low
        if filled != target.numel():
            raise DamagedCheckpoint(f"{kind} of {name}: {filled} of {target.numel()} elements are there")

    def whole(self, kind: str) -> dict[str, Tensor]:
        """Every parameter, whole, from the pieces of all ranks."""
        found = {}
        for name, pieces in self._pieces.items():
            shape = pieces[0][1].shape
            flat = torch.empty(int(torch.Size(shape).numel()), dtype=torch.float32)
            self.copy_into(kind, name, 0, flat)
            found[name] = flat.view(shape)
        return found


def check_files(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        DamagedCheckpoint: names the file and what is wrong with it.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(f"manifest.json cannot be read: {error}") from error
    if manifest.get("format") != FORMAT:
        raise DamagedCheckpoint(f"format {manifest.get('format')}, this version reads {FORMAT}")
    for name, (size, digest) in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            raise DamagedCheckpoint(f"{name} is missing")
        if file.stat().st_size != size:
            raise DamagedCheckpoint(f"{name} has {file.stat().st_size} bytes, not {size}")
        if sha256_file(file) != digest:
            raise DamagedCheckpoint(f"{name} was altered")


class CheckpointStore:
    """The checkpoints of one phase, written in the background by all ranks.

    Args:
        folder: shared by all ranks.
        keep: complete checkpoints that stay.
        export: writes a `from_pretrained` folder of whole tensors; rank 0 calls it twice a checkpoint.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        keep: int = 2,
        rank: int = 0,
        world_size: int = 1,
        export: Export | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._keep, self._rank, self._world_size, self._export = keep, rank, world_size, export
        self._thread: threading.Thread | None = None
        self._leaving = threading.Event()
        self._error: BaseException | None = None

    # ---- finding ----------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first; their files are not checked."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for p in self.folder.iterdir() if (match := _STEP.fullmatch(p.name)))

    def path(self, step: int) -> Path:
        """Folder of the checkpoint of a step."""
        return self.folder / f"step-{step:08d}"

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """Step and record of the newest checkpoint whose files hold; None where there never was one.

        A damaged one is passed over with an error in the log.

        Raises:
            InputError: there are checkpoints, and all of them are damaged.
        """
        damages = []
        for step in reversed(self.steps()):
            try:
                check_files(self.path(step))
            except DamagedCheckpoint as damage:
                damages.append(f"{self.path(step).name}: {damage}")
                logger.error("checkpoint %s is damaged and passed over: %s", self.path(step), damage)
                continue
            return step, json.loads((self.path(step) / "record.json").read_text())
        if damages:
            raise InputError(
                f"{self.folder}: no checkpoint is intact ({'; '.join(damages)}); "
                "remove the folder to train from the start"
            )
        return None

    def remove_unfinished(self) -> None:
        """Remove what killed writers left. Rank 0 alone, before anybody saves."""
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path)

    def remove_after(self, step: int) -> None:
        """Remove the (damaged) checkpoints newer than `step`, so that their place is free."""
        for newer in [s for s in self.steps() if s > step]:
            self._remove(newer)

    def _remove(self, step: int) -> None:
        doomed = self.folder / f"{_UNFINISHED}removal-{step:08d}"
        os.replace(self.path(step), doomed)
        shutil.rmtree(doomed)

    # ---- writing ----------------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        fragments: Sequence[Fragment],
        flats: Mapping[str, Sequence[Tensor]],
        record: Mapping[str, Any],
    ) -> None:
        """Copy the tensors and write them in the background; waits for the write before this one.

        Raises:
            OSError: the write before this one failed.
        """
        self.wait()
        copies = {kind: [t.detach().to("cpu", copy=True) for t in list_] for kind, list_ in flats.items()}
        self._thread = threading.Thread(
            target=self._guarded_write, args=(step, list(fragments), copies, dict(record)), name="checkpoint"
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            OSError: the write failed (a full disk, ...); complete checkpoints are untouched.
        """
        self._join()
        self.check()

    def close(self) -> None:
        """Let the write end and raise nothing: for the way out, also after another error.

        A write that waits for the state of another rank is given up: that rank may be gone.
        """
        self._leaving.set()
        self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def check(self) -> None:
        """Raise what the background thread ran into, if it did."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _guarded_write(self, step: int, *content: Any) -> None:
        unfinished = self.folder / f"{_UNFINISHED}{self.path(step).name}"
        try:
            self._write(unfinished, step, *content)
        except BaseException as error:  # noqa: BLE001 - it is raised again by the thread that trains
            self._error = error
            if self._rank == 0:
                shutil.rmtree(unfinished, ignore_errors=True)

    def _write(
        self,
        unfinished: Path,
        step: int,
        fragments: Sequence[Fragment],
        flats: Mapping[str, Sequence[Tensor]],
        record: Mapping[str, Any],
    ) -> None:
        unfinished.mkdir(parents=True, exist_ok=True)
        write_state(unfinished, self._rank, self._world_size, fragments, flats)
        if self._rank != 0:
            return
        self._wait_for_peers(unfinished)
        write_json_atomic(unfinished / "record.json", record)
        if self._export is not None:
            state = State(unfinished)
            for folder, kind in (("transformer", "ema"), ("transformer_raw", "master")):
                self._export(unfinished / folder, state.whole(kind))
        names = sorted(str(p.relative_to(unfinished)) for p in unfinished.rglob("*") if p.is_file())
        files = {name: [(unfinished / name).stat().st_size, sha256_file(unfinished / name)] for name in names}
        write_json_atomic(unfinished / "manifest.json", {"format": FORMAT, "step": step, "files": files})
        if self.path(step).exists():
            self._remove(step)
        os.replace(unfinished, self.path(step))
        _flush_folder(self.folder)
        for old in self.steps()[: -self._keep]:
            self._remove(old)

    def _wait_for_peers(self, unfinished: Path) -> None:
        deadline = time.monotonic() + PEER_TIMEOUT_SECONDS
        for rank in range(self._world_size):
            while not (unfinished / f"{_state_name(rank, self._world_size)}.json").exists():
                if self._leaving.is_set() or time.monotonic() > deadline:
                    raise OSError(f"{unfinished}: rank {rank} has not written its state")
                time.sleep(0.02)


def export_weights(folder: Path, config_json: str, tensors: Mapping[str, Tensor]) -> None:
    """Write a folder that the model's `from_pretrained` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "config.json") as temporary:
        temporary.write_text(config_json)
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file({name: t.contiguous() for name, t in sorted(tensors.items())}, temporary, {"format": "pt"})


def read_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of an exported folder, one at a time."""
    with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - a safetensors handle is no mapping
            yield name, file.get_tensor(name)
