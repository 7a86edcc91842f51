import numpy as np
import pytest
import torch

from sugar.box import Box
from sugar.config import InputError
from sugar.encoders.segmentation import NoSubject, make_segmenter

SIDE_PX = 64
# The coarsest of the detector's feature maps has one position every 64 px; its norms need more than one.
DETECTOR_PX = 128


def make_detector(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        PreTrainedTokenizerFast,
        SwinConfig,
    )

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "dog"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=SIDE_PX,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=8,
        max_text_len=16,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)


def make_sam(folder):
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [SIDE_PX, SIDE_PX],
                "hidden_size": 8,
                "blocks_per_stage": [1, 1, 1, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 1, 1],
                "window_size_per_stage": [2, 2, 2, 2],
                "global_attention_blocks": [],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 16,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": SIDE_PX, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    Sam2Model(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounded_sam")
    make_detector(folder / "detector")
    make_sam(folder / "segmenter")
    made = make_segmenter(
        "grounded_sam", detector=folder / "detector", segmenter=folder / "segmenter", box_threshold=0.0
    )
    made.detector_size_px = (DETECTOR_PX, DETECTOR_PX)
    return made


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_networks_run_and_the_mask_has_the_pictures_size(segmenter, image, monkeypatch):
    monkeypatch.setattr(segmenter, "mask_threshold", 0.0)
    found = segmenter(image, "dog")
    assert found.mask.shape == (48, 80)
    assert found.mask.dtype == np.uint8
    assert 0.0 <= found.score <= 1.0
    np.testing.assert_array_equal(found.mask, segmenter(image, "Dog ").mask)


def test_the_most_confident_box_is_the_processors(segmenter, image):
    """Against transformers' own post-processing of the detector's output."""
    from transformers.models.grounding_dino.processing_grounding_dino import center_to_corners_format

    seen = {}
    forward = segmenter.detector.forward

    def record(*args, **kwargs):
        seen.update(kwargs, outputs=forward(*args, **kwargs))
        return seen["outputs"]

    segmenter.detector.forward = record
    try:
        with torch.no_grad():
            box, confidence = segmenter._detect(image, "dog")
    finally:
        segmenter.detector.forward = forward
    assert max(seen["pixel_values"].shape[2:]) == DETECTOR_PX
    assert segmenter.tokenizer.decode(seen["input_ids"][0]) == "[CLS] dog . [SEP]"
    scores = seen["outputs"].logits[0].sigmoid().max(dim=-1)[0]
    corners = center_to_corners_format(seen["outputs"].pred_boxes[0])[scores.argmax()].clamp(0, 1)
    torch.testing.assert_close(box, corners)
    assert confidence == pytest.approx(scores.max().item())


def test_a_persons_box_needs_no_detector(segmenter, image, monkeypatch):
    monkeypatch.setattr(segmenter, "mask_threshold", 0.0)
    box = Box(0.25, 0.25, 0.75, 1.0)
    seen = []
    forward = segmenter.segmenter.forward
    monkeypatch.setattr(segmenter, "detector", None)
    monkeypatch.setattr(
        segmenter.segmenter, "forward", lambda **given: seen.append(given["input_boxes"]) or forward(**given)
    )
    found = segmenter(image, "dog", box=box)
    assert seen[0].flatten().tolist() == [16, 16, 48, 64]
    assert found.mask[12:, 20:60].any()
    assert not found.mask[~box.inside(48, 80)].any()


def test_thresholds(segmenter, image, monkeypatch):
    monkeypatch.setattr(segmenter, "box_threshold", 1.5)
    with pytest.raises(NoSubject, match=r"box_threshold is 1\.5"):
        segmenter(image, "dog")
    monkeypatch.setattr(segmenter, "box_threshold", 0.0)
    monkeypatch.setattr(segmenter, "mask_threshold", 1.5)
    with pytest.raises(NoSubject, match="empty at mask_threshold"):
        segmenter(image, "dog")
    with pytest.raises(InputError, match="noun"):
        segmenter(image, "  ")


def test_a_mask_that_the_segmenter_doubts_is_refused(segmenter, image, monkeypatch):
    monkeypatch.setattr(segmenter, "mask_threshold", 0.0)
    with torch.no_grad():
        _, quality = segmenter._segment(image, torch.tensor([0.25, 0.25, 0.75, 1.0]))
    box = Box(0.25, 0.25, 0.75, 1.0)
    monkeypatch.setattr(segmenter, "min_mask_quality", quality)
    assert segmenter(image, "dog", box=box).score == pytest.approx(max(quality, 0.0))
    monkeypatch.setattr(segmenter, "min_mask_quality", quality + 1e-3)
    with pytest.raises(NoSubject, match="min_mask_quality is") as refused:
        segmenter(image, "dog", box=box)
    assert refused.value.reason == "unsure_mask"


def test_the_bound_of_a_configuration_reaches_the_segmenter(tmp_path):
    from sugar.stages.scoring import MakeCut

    make_detector(tmp_path / "detector")
    make_sam(tmp_path / "segmenter")
    folders = (str(tmp_path / "detector"), str(tmp_path / "segmenter"))
    made = MakeCut("grounded_sam", *folders, 0.1, 0.2, 0.3, "cpu")()
    assert (made.box_threshold, made.mask_threshold, made.min_mask_quality) == (0.1, 0.2, 0.3)
