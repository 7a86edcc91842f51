"""A job travels as JSON and refuses values out of range."""

from __future__ import annotations

import pytest

from sugar.config import InputError
from sugar.training.job import ATTENTION_BACKENDS, FREE_FIELDS, TrainingJob


def test_json_round_trip(make_job) -> None:
    job = make_job(attention_design={"text": ["text"]}, trainable=("dino_proj.",), betas=(0.8, 0.9))
    assert TrainingJob.from_json(job.to_json()) == job


def test_the_fingerprint_leaves_out_what_does_not_change_the_result(make_job) -> None:
    job = make_job()
    assert job.fingerprint() == make_job("elsewhere", zero_stage=3, micro_batch=4, log_every=1).fingerprint()
    assert job.fingerprint() != make_job(learning_rate=2e-3).fingerprint()
    assert {field for field in FREE_FIELDS if not hasattr(job, field)} == set()


@pytest.mark.parametrize(
    "changes, says",
    [
        (
            {"global_batch": 5},
            r"global_batch must be a multiple of micro_batch \* num_processes \(2\), got 5",
        ),
        ({"precision": "fp8"}, "precision must be one of fp32, bf16, got fp8"),
        ({"zero_stage": 4}, "zero_stage must be 0, 1, 2 or 3, got 4"),
        (
            {"zero_stage": 0, "offload_optimizer": True},
            "offload_optimizer must be false in ZeRO stage 0, got True",
        ),
        ({"zero_stage": 3, "compile_blocks": True}, "compile_blocks must be false in ZeRO stage 3, got True"),
        ({"gradient_checkpointing": "some"}, "gradient_checkpointing must be false, true or selective"),
        (
            {"attention_backend": "fast"},
            "attention_backend must be null or one of native, flash, cudnn, flex",
        ),
        ({"synthetic_latents": None}, "synthetic_latents must be given"),
        ({"drop_dino": 1.2}, "drop_dino must be within 0..1, got 1.2"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
    ],
)
def test_values_out_of_range(make_job, changes, says) -> None:
    with pytest.raises(InputError, match=says):
        make_job(**changes)


@pytest.mark.parametrize("text", ["{", '{"phase": "x"}', '{"colour": 1}'])
def test_a_text_that_is_no_job(text) -> None:
    with pytest.raises(InputError, match="not a job file"):
        TrainingJob.from_json(text)


def test_the_attention_kernels_are_those_that_the_model_knows() -> None:
    from typing import get_args

    from sugar.config.schema import Training
    from sugar.model.checkpointing import BACKENDS

    literal, _none = get_args(Training.model_fields["attention_backend"].annotation)
    assert tuple(BACKENDS) == ATTENTION_BACKENDS == get_args(literal)
