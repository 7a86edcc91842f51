"""params.yaml and its strict mirror: layers, paths, and one-line errors that name key, rule and value."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from sugar.config import InputError, ablated, load_params, params_from_dict


@pytest.fixture
def params_file(project_root: Path, tmp_path: Path) -> Path:
    """A copy of the shipped params.yaml with its profiles."""
    shutil.copy(project_root / "params.yaml", tmp_path)
    shutil.copytree(project_root / "profiles", tmp_path / "profiles")
    return tmp_path / "params.yaml"


def test_shipped_file_is_valid_and_every_profile_too(project_root: Path):
    names = [path.stem for path in (project_root / "profiles").glob("*.yaml")]
    assert "smoke" in names
    for profiles in ([], *([name] for name in names)):
        load_params(project_root / "params.yaml", profiles)


@pytest.mark.parametrize("profile", ["cogvideox-2b", "cogvideox-5b"])
def test_real_clips_show_their_subject_at_several_times(project_root: Path, profile: str):
    ingest = load_params(project_root / "params.yaml", [profile]).ingest
    assert ingest.num_identities > 1
    assert ingest.max_windows > 1


def test_mirror_has_exactly_the_keys_of_the_file(params_file: Path):
    def keys(value: object, prefix: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {prefix}
        return {key for name, child in value.items() for key in keys(child, f"{prefix}.{name}")} | {prefix}

    assert keys(load_params(params_file).as_dict()) == keys(yaml.safe_load(params_file.read_text()))


def test_assumptions_are_marked_with_a_decision_that_exists(project_root: Path):
    import re

    numbers = re.findall(r"assumption \(decision (\d{4})\)", (project_root / "params.yaml").read_text())
    assert len(set(numbers)) >= 7
    for number in numbers:
        assert list((project_root / "docs" / "decisions").glob(f"{number}-*.md")), number


def test_later_layers_win(params_file: Path):
    (params_file.parent / "profiles" / "one.yaml").write_text("seed: 1\npretrain: {steps: 11}\n")
    (params_file.parent / "profiles" / "two.yaml").write_text("seed: 2\n")
    assert load_params(params_file, ["one", "two"]).seed == 2
    params = load_params(params_file, ["one", "two"], ["seed=3", "training.betas=[0.5, 0.6]", "seed=4"])
    assert (params.seed, params.pretrain.steps, params.training.betas) == (4, 11, (0.5, 0.6))
    assert params.finetune == load_params(params_file).finetune


@pytest.mark.parametrize("text, value", [("1e-5", 1e-5), ("1.0e-5", 1e-5), ("2E-3", 2e-3), ("1", 1.0)])
def test_numbers_in_every_notation(params_file: Path, text: str, value: float):
    assert (
        load_params(params_file, overrides=[f"training.learning_rate={text}"]).training.learning_rate == value
    )


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("sampling.num_steps=0", "sampling.num_steps must be >= 1, got 0"),
        ("sampling.num_steps=3.0", "sampling.num_steps must be a whole number, got 3.0"),
        ("sampling.guidance.interval=[0.6,0.2]", "sampling.guidance.interval must be [start, stop]"),
        ("sampling.guidance.batch_branches=two", "sampling.guidance.batch_branches must be"),
        ("sampling.drop_until=1.5", "sampling.drop_until must be <= 1.0, got 1.5"),
        ("sampling.num_step=3", "unknown key sampling.num_step, did you mean num_steps?"),
        ("trainng.x=1", "unknown key trainng, did you mean training?"),
        ("video.frames.count=1", "unknown key video.frames"),
        ("seed=true", "seed must be a whole number, got True"),
        ("seed=-1", "seed must be >= 0, got -1"),
        ("seed=", "seed must be a whole number, got None"),
        ("paths=3", "paths must be a table, got 3"),
        ("paths.root=5", "paths.root must be text, got 5"),
        ("paths.root=''", "paths.root must not be empty, got ''"),
        ("training.learning_rate=fast", "training.learning_rate must be a number, got 'fast'"),
        ("training.learning_rate=.nan", "training.learning_rate must be a finite number, got nan"),
        ("training.zero_stage=4", "training.zero_stage must be one of 0, 1, 2 or 3, got 4"),
        ("training.betas=3", "training.betas must be a list, got 3"),
        ("training.betas=[0.9, 1.0]", "training.betas.1 must be < 1.0, got 1.0"),
        ("training.global_batch=17", "training.global_batch must be a multiple of micro_batch"),
        (
            "training={zero_stage: 0, offload_optimizer: true}",
            "training.offload_optimizer must be false in ZeRO stage 0",
        ),
        (
            "training={zero_stage: 3, compile_blocks: true}",
            "training.compile_blocks must be false in ZeRO stage 3",
        ),
        ("training.gradient_checkpointing=some", "training.gradient_checkpointing must be"),
        ("training.attention_backend=fast", "training.attention_backend must be one of 'native', 'flash'"),
        ("evaluate.image_scales=[]", "evaluate.image_scales must have at least 1 entries, got []"),
        ("networks.device=tpu", "networks.device must match"),
        ("video.num_frames=8", "video.num_frames must be 4n + 1 (CogVideoX's VAE), got 8"),
        ("video.height_px=63", "video.height_px must be a multiple of 2, got 63"),
        ("source.kind=folder", "source.folder must be a path or address when kind is folder, got null"),
        ("networks.segmentation.kind=grounded_sam", "networks.segmentation.detector must be a folder"),
        ("ingest.min_mask_area=0.95", "ingest.min_mask_area must be below max_mask_area (0.9), got 0.95"),
        ("strategy.name=custom", "strategy.custom must be a list of phases when name is"),
        ("model.attention_design=f", "model.attention_design must be one of a, b, c"),
        ("model.attention_design={dino: [text]}", "model.attention_design must be one of a, b, c"),
        ("register=", "register must be a table, got None"),
        ("ablations.Big={seed: 1}", "ablations.Big must match"),
        ("ablations.x={}", "ablations.x must have at least 1"),
        (
            "shards={driver: indexed_job, cluster: {image: i, volume_claim: c}}",
            "shards.cluster.mount_path is missing",
        ),
        ("shards.driver=indexed_job", "shards.cluster must be given when driver is indexed_job, got null"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_naming_layer_key_rule_and_value(
    params_file: Path, override: str, sentence: str
):
    with pytest.raises(InputError) as raised:
        load_params(params_file, overrides=[override])
    message = str(raised.value)
    assert message.startswith(f"--set {override}: {sentence}") and "\n" not in message


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=1", "seed=[", ""])
def test_a_malformed_override_is_an_input_error(params_file: Path, override: str):
    with pytest.raises(InputError, match="--set"):
        load_params(params_file, overrides=[override])


def test_an_attention_table_is_accepted(params_file: Path):
    groups = ("dino", "clip", "text", "first_frame", "other_frames")
    table = "{" + ", ".join(f"{group}: [text]" for group in groups) + "}"
    params = load_params(params_file, overrides=[f"model.attention_design={table}"])
    assert params.model.attention_design == {group: ["text"] for group in groups}


def test_the_file_at_fault_is_named(params_file: Path):
    (params_file.parent / "profiles" / "bad.yaml").write_text("sampling: {num_steps: many}\n")
    with pytest.raises(
        InputError, match=r"bad\.yaml: sampling\.num_steps must be a whole number, got 'many'"
    ):
        load_params(params_file, ["bad"])
    with pytest.raises(InputError, match=r"^--set seed=1\.5: seed"):
        load_params(params_file, overrides=["seed=1.5"])


def test_a_missing_key_is_named(params_file: Path):
    params_file.write_text(params_file.read_text().replace("  fps: 8\n", ""))
    with pytest.raises(InputError, match=r"params\.yaml: video\.fps is missing"):
        load_params(params_file)
    with pytest.raises(InputError, match=r"params\.yaml: video\.fps is missing"):
        load_params(params_file, overrides=["video.num_frames=9"])


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("seed: [1", "line 1: not valid YAML"),
        ("seed: 1\nseed: 2\n", "line 2: not valid YAML: key 'seed' is given twice"),
        ("- 1\n", "must be a table of sections, got list"),
        ("", "seed is missing"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_table_is_an_input_error(tmp_path: Path, content: str, sentence: str):
    file = tmp_path / "params.yaml"
    file.write_text(content)
    with pytest.raises(InputError) as raised:
        load_params(file)
    assert sentence in str(raised.value)


def test_missing_file_folder_and_binary_are_input_errors(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read: No such file"):
        load_params(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_params(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_params(tmp_path / "binary.yaml")


@pytest.mark.parametrize("name", ["nope", "../params", ""])
def test_an_unknown_profile_lists_those_that_exist(params_file: Path, name: str):
    with pytest.raises(InputError, match=r"--profile must be one of .*smoke.*, got"):
        load_params(params_file, [name])


def test_everything_is_frozen(params_file: Path):
    params = load_params(params_file)
    with pytest.raises(ValidationError):
        params.video.fps = 9  # type: ignore[misc]
    with pytest.raises(ValidationError):
        params.seed = 1  # type: ignore[misc]


def test_paths_lie_under_the_root_beside_the_file(params_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    params = load_params(params_file, overrides=["paths.root=here"])
    assert params.path("subjects") == params_file.parent / "here/data/subjects"
    assert params.path("register") == params_file.parent / "here/reports/register"
    assert params.given("photos") == params_file.parent / "photos"
    assert load_params(params_file, overrides=["paths.subjects=/data/s"]).path("subjects") == Path("/data/s")


def test_a_network_is_a_folder_or_a_hub_id(params_file: Path):
    folder = params_file.parent / "foundation/sprites/dino"
    with pytest.raises(InputError, match=r"networks\.dino must be an existing folder or a hub id owner/name"):
        load_params(params_file).network("dino")
    folder.mkdir(parents=True)
    assert load_params(params_file).network("dino") == str(folder)
    params = load_params(params_file, overrides=["networks.dino=facebook/dinov2-base"])
    assert params.network("dino") == "facebook/dinov2-base"
    with pytest.raises(InputError, match=r"networks\.clip"):
        load_params(params_file, overrides=["networks.clip=missing"]).network("clip")


def test_plain_values_come_back_the_same(params_file: Path):
    params = load_params(params_file, ["smoke"])
    again = params_from_dict(params.as_dict(), params.folder)
    assert again == params and again.path("real") == params.path("real")
    assert params.section("validate")["min_rows"] == {"real": 8, "synthetic": 4}


def test_import_is_light():
    heavy = {"torch", "numpy", "kfp", "mlflow"}
    code = f"import sugar, sugar.config, sugar.cli, sys; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("section", ["synthesize", "ingest"])
def test_a_bound_on_a_score_that_nothing_gives_is_found_when_the_file_is_read(
    params_file: Path, section: str
):
    override = f"{section}.filters.min_aesthetic=5"
    sentence = f"{section}.filters.min_aesthetic must be null when networks.aesthetic is null, got 5"
    with pytest.raises(InputError, match=sentence):
        load_params(params_file, overrides=[override])
    load_params(params_file, overrides=[override, "networks.aesthetic=head.safetensors"])


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("ablations.x={model.design: a}", "ablations.x: unknown key model.design"),
        ("ablations.x={model.attention_design: z}", "ablations.x: model.attention_design must be one of a"),
        ("ablations.x={encode.dtype: float16}", "ablations.x: may change seed, model,"),
        ("ablations.stage1={seed: 1}", "ablations must not have the name of another model, got 'stage1'"),
        ("evaluate.compare=[design_z]", "evaluate.compare must name some of stage1, text_only, design_a"),
    ],
)
def test_wrong_ablations_are_found_when_the_file_is_read(params_file: Path, override: str, sentence: str):
    with pytest.raises(InputError, match=sentence):
        load_params(params_file, overrides=[override])


def test_an_ablation_changes_what_it_says_and_where_it_checkpoints(params_file: Path):
    params = load_params(params_file, overrides=["ablations.x={seed: 3, training.betas: [0.5, 0.6]}"])
    changed = ablated(params, "x")
    assert (changed.seed, changed.training.betas) == (3, (0.5, 0.6))
    assert changed.path("checkpoints") == params.path("checkpoints") / "x"
    assert changed.path("latents_real") == params.path("latents_real")
    assert changed.model == params.model and ablated(params, "design_a").model.attention_design == "a"
    with pytest.raises(InputError, match=r"must be one of those in params.yaml \(design_a, x\), got 'y'"):
        ablated(params, "y")
