"""Optical flow between neighbouring frames: DIS (OpenCV) anywhere, RAFT (torchvision) as VBench runs it.

Axes: T frames, P pairs (T-1 where all are asked for), 2 = (x, y), H W height and width, C channels. Flow is
in pixels, from frame t to frame t + 1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as functional

from sugar.config import InputError
from sugar.encoders.preprocess import as_uint8_batch

FLOW_KINDS = ("dis", "raft")
RAFT_UPDATES = 20
RAFT_MIN_SIDE_PX = 128
RAFT_BATCH = 8
DIS_MIN_SIDE_PX = 16
DIS_SIDE_PX = 128
"""Frames with a longer short side are searched at this one; assumption (decision 0008)."""


class Flow(Protocol):
    """uint8 frames [T, H, W, 3] to float32 flows [P, 2, H, W].

    `first`: numbers of the frames that pairs start with; None: all but the last.
    """

    def __call__(self, frames_THWC: np.ndarray, first: np.ndarray | None = None) -> np.ndarray: ...


def make_flow(kind: str, device: str | torch.device = "cpu") -> Flow:
    """The optical flow of a configuration.

    Args:
        kind: "dis", or "raft" (needs torchvision, which fetches the weights that VBench uses).
        device: for RAFT.

    Raises:
        InputError: for an unknown kind, or RAFT without a torchvision that works.
    """
    if kind == "dis":
        return dis_flow
    if kind == "raft":
        network = load_raft(device)
        return lambda frames_THWC, first=None: raft_flow(network, frames_THWC, device, first)
    raise InputError(f"networks.flow.kind must be one of {FLOW_KINDS}, got {kind!r}")


def dis_flow(frames_THWC: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """Dense inverse search (Kroeger et al. 2016), OpenCV's medium preset: float32 [P, 2, h, w], as `Flow`.

    h, w are H, W, or smaller for frames with a short side over `DIS_SIDE_PX`; lengths are in pixels of H, W.

    Raises:
        ValueError: for fewer than two frames or a side under 16 px, which OpenCV's pyramid cannot take.
    """
    frames = _checked_frames(frames_THWC).numpy()
    num_frames, height, width = frames.shape[:3]
    if min(height, width) < DIS_MIN_SIDE_PX:
        raise ValueError(f"DIS needs sides of at least {DIS_MIN_SIDE_PX} px, got {height} x {width}")
    grey = cv2.cvtColor(frames.reshape(num_frames * height, width, 3), cv2.COLOR_RGB2GRAY)
    grey = grey.reshape(num_frames, height, width)
    scale = DIS_SIDE_PX / min(height, width)
    if scale < 1:
        grey = _shrunk(grey, scale)
    with _one_thread():
        # A search of its own for each pair: on small frames OpenCV's keeps settings from one to the next. No
        # output array is passed: OpenCV would take what is in it for a first guess.
        flows = [
            cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(
                grey[start],
                grey[start + 1],
                None,  # pyright: ignore[reportCallIssue, reportArgumentType]
            )
            for start in _starts(num_frames, first)
        ]
    found = np.ascontiguousarray(np.stack(flows).transpose(0, 3, 1, 2))
    if scale < 1:
        found *= np.array([width / grey.shape[2], height / grey.shape[1]], np.float32)[:, None, None]
    return found


def _shrunk(grey_THW: np.ndarray, scale: float) -> np.ndarray:
    size = (round(grey_THW.shape[2] * scale), round(grey_THW.shape[1] * scale))
    return np.stack([cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in grey_THW])


@contextmanager
def _one_thread() -> Iterator[None]:
    """DIS searches in one stripe a thread, so its result would change with the number of cores."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def load_raft(device: str | torch.device = "cpu") -> Any:
    """RAFT with the weights that VBench uses ("raft-things": FlyingChairs, then FlyingThings3D).

    Raises:
        InputError: without a torchvision that works, or when its weights cannot be had.
    """
    try:
        from torchvision.models.optical_flow import (  # pyright: ignore[reportMissingImports]
            Raft_Large_Weights,
            raft_large,
        )
    except (ImportError, RuntimeError) as error:
        raise InputError(
            "networks.flow.kind raft needs a torchvision that fits the installed torch "
            f"(pip install 'sugar[raft]'): {str(error).splitlines()[0]}"
        ) from error
    try:
        network = raft_large(weights=Raft_Large_Weights.C_T_V1)
    except OSError as error:
        raise InputError(f"networks.flow.kind raft: cannot fetch torchvision's weights: {error}") from error
    return network.to(device).eval().requires_grad_(False)


@torch.no_grad()
def raft_flow(
    network: Any,
    frames_THWC: np.ndarray,
    device: str | torch.device = "cpu",
    first: np.ndarray | None = None,
) -> np.ndarray:
    """Flow of a RAFT network of torchvision's form, after 20 updates (VBench): float32 [P, 2, H, W].

    Frames are padded with copies of their border to multiples of 8 px. torchvision's RAFT refuses sides under
    128 px: smaller frames are enlarged by a whole factor, and their flow made smaller by the same.
    """
    frames = _checked_frames(frames_THWC)
    height, width = frames.shape[1:3]
    enlarge = -(-RAFT_MIN_SIDE_PX // min(height, width))
    pixels = frames.permute(0, 3, 1, 2).to(device).float() / 127.5 - 1.0
    if enlarge > 1:
        pixels = functional.interpolate(pixels, scale_factor=enlarge, mode="bilinear", align_corners=False)
    rows, columns = -pixels.shape[2] % 8, -pixels.shape[3] % 8
    top, left = rows // 2, columns // 2
    pixels = functional.pad(pixels, (left, columns - left, top, rows - top), mode="replicate")
    starts = torch.as_tensor(_starts(len(pixels), first), device=pixels.device)
    flows = torch.cat(
        [
            network(pixels[batch], pixels[batch + 1], num_flow_updates=RAFT_UPDATES)[-1]
            for batch in starts.split(RAFT_BATCH)
        ]
    )
    flows = flows[..., top : top + height * enlarge, left : left + width * enlarge]
    if enlarge > 1:
        flows = functional.avg_pool2d(flows, enlarge) / enlarge
    return flows.float().cpu().numpy()


def _starts(num_frames: int, first: np.ndarray | None) -> np.ndarray:
    return np.arange(num_frames - 1) if first is None else first


def _checked_frames(frames_THWC: np.ndarray) -> torch.Tensor:
    frames = as_uint8_batch(frames_THWC)
    if frames.shape[0] < 2:
        raise ValueError(f"optical flow needs at least two frames, got {frames.shape[0]}")
    return frames
