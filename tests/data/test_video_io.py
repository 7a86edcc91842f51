import io
from pathlib import Path

import av
import numpy as np
import pytest
from damaged_files import audio_only, rotated

from sugar.config import InputError
from sugar.data.image_io import BadMedia, encode_png
from sugar.data.video_io import decode_video, encode_mp4, iter_frames, probe


def reason(data: bytes | Path, **limits: int) -> str:
    with pytest.raises(BadMedia) as caught:
        decode_video(data, **limits)
    return caught.value.reason


def muxed(frames: np.ndarray, container_format: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        container.start_encoding()
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("fps", [8, 7.5, 30000 / 1001])
def test_round_trip_keeps_size_rate_and_looks(make_clip, fps):
    clip = make_clip(0, num_frames=9)
    decoded, rate = decode_video(encode_mp4(clip, fps))
    assert decoded.shape == clip.shape
    assert rate == pytest.approx(fps, rel=1e-6)
    assert psnr_db(decoded, clip) > 42
    assert np.abs(decoded.mean((0, 1, 2)) - clip.mean((0, 1, 2))).max() < 1


def test_equal_frames_give_equal_bytes():
    # Noise makes x264's lookahead take other decisions from run to run where it is on.
    clip = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    assert len({encode_mp4(clip, 8) for _ in range(12)}) == 1


def test_a_clip_may_have_one_frame(make_clip):
    decoded, rate = decode_video(encode_mp4(make_clip(0, num_frames=1), 8))
    assert decoded.shape[0] == 1
    assert rate == 8


@pytest.mark.parametrize(
    "shape, fps, message",
    [
        ((2, 5, 6, 3), 8, "even height and width, got 5x6"),
        ((2, 6, 6, 4), 8, r"uint8 \[T, H, W, 3\]"),
        ((0, 6, 6, 3), 8, r"uint8 \[T, H, W, 3\]"),
        ((2, 6, 6, 3), 0, "fps must be > 0"),
    ],
)
def test_what_cannot_be_encoded_is_refused(shape, fps, message):
    with pytest.raises(ValueError, match=message):
        encode_mp4(np.zeros(shape, np.uint8), fps)


def test_frames_come_with_their_time(make_clip):
    frames = list(iter_frames(encode_mp4(make_clip(0, num_frames=4), 8)))
    assert [frame.seconds for frame in frames] == [0, 0.125, 0.25, 0.375]
    assert decode_video(encode_mp4(make_clip(0, num_frames=4), 8), max_frames=3)[0].shape[0] == 3


def test_probe_says_what_the_clip_is(make_clip):
    info = probe(encode_mp4(make_clip(0, num_frames=4), 8))
    assert info == (48, 32, 8.0, 4, 0.5, "h264")


def test_other_containers_and_codecs_decode(make_clip):
    for container_format, codec in (("matroska", "libx264"), ("avi", "mpeg4"), ("mpegts", "mpeg2video")):
        clip = muxed(make_clip(1, num_frames=6), container_format, codec)
        assert decode_video(clip)[0].shape == (6, 32, 48, 3)


def test_rotation_is_applied(make_clip):
    clip = make_clip(0)
    mp4 = encode_mp4(clip, 8)
    turned, _ = decode_video(rotated(mp4))
    np.testing.assert_array_equal(turned, np.rot90(decode_video(mp4)[0], -1, axes=(1, 2)))
    assert probe(rotated(mp4))[:2] == (32, 48)


def test_bad_clips_say_why(make_clip):
    mp4 = encode_mp4(make_clip(0), 8)
    assert reason(b"") == "empty"
    assert reason(b"this is no clip" * 50) == "not_a_video"
    assert reason(encode_png(make_clip(0)[0])) == "not_a_video"
    assert reason(audio_only()) == "no_video_stream"
    assert reason(muxed(make_clip(0)[:0], "avi", "mpeg4")) == "no_frames"
    assert reason(mp4[: len(mp4) // 2]) == "truncated"
    assert reason(mp4, max_pixels=1000) == "too_large"
    assert reason(mp4.replace(b"avc1", b"zzzz")) == "unknown_codec"


def test_a_clip_whose_index_comes_first_is_known_to_be_truncated(make_clip, tmp_path):
    source, path = io.BytesIO(encode_mp4(make_clip(0), 8)), tmp_path / "a.mp4"
    with av.open(source) as old, av.open(str(path), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    whole = path.read_bytes()
    assert decode_video(whole)[0].shape[0] == 5
    with av.open(path) as container:
        cut = [packet.pos for packet in container.demux(video=0) if packet.size][3]
    assert reason(whole[:cut]) == "truncated"
    assert reason(whole[:-1]) == "truncated"


def test_a_frame_that_does_not_decode_is_corrupt(make_clip):
    mp4 = bytearray(encode_mp4(make_clip(0), 8))
    start = mp4.index(b"mdat") + 4
    mp4[start : mp4.index(b"moov") - 4] = bytes(mp4.index(b"moov") - 4 - start)
    assert reason(bytes(mp4)) in ("corrupt", "no_frames")


def test_playlists_that_name_other_files_are_not_followed(make_clip, tmp_path):
    target = tmp_path / "target.mp4"
    target.write_bytes(encode_mp4(make_clip(0), 8))
    assert reason(f"ffconcat version 1.0\nfile {target}\n".encode()) == "not_a_video"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
    assert reason(playlist.encode()) == "not_a_video"
    (tmp_path / "list.mp4").write_text(playlist)
    assert reason(tmp_path / "list.mp4") == "not_a_video"


def test_a_missing_file_is_the_users_mistake(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.mp4: cannot be opened"):
        probe(tmp_path / "nowhere.mp4")


def test_real_clips_decode(real_data):
    for path in sorted((real_data / "videos").glob("*.mp4")):
        info = probe(path)
        assert info.num_frames > 200
        assert decode_video(path, max_frames=3)[0].shape == (3, info.height_px, info.width_px, 3)
