"""LoRA weights of a pipeline, in the files of diffusers.

FOLDER/pytorch_lora_weights.safetensors   what `load_lora_weights` of any CogVideoX pipeline reads
FOLDER/image_projections.safetensors      the image projections that were trained with it
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders import CogVideoXLoraLoaderMixin
from safetensors.torch import load_file, save_file
from torch import Tensor

from sugar.encoders.loading import check_source
from sugar.model.lora import projections_of

PROJECTIONS_FILE = "image_projections.safetensors"


class SugarLoraLoaderMixin(CogVideoXLoraLoaderMixin):
    """CogVideoX's LoRA methods; the image projections travel with the weights."""

    transformer: Any
    _own_projections: dict[str, Tensor] | None = None

    @classmethod
    def save_lora_weights(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        save_directory: str | Path,
        transformer_lora_layers: Mapping[str, Tensor],
        image_projections: Mapping[str, Tensor],
        transformer_lora_adapter_metadata: dict[str, Any],
    ) -> None:
        """Write LoRA weights and image projections.

        Args:
            transformer_lora_layers: named as in `sugar.model.lora.adapter_of`.
            image_projections: tensors of the transformer, by name.
            transformer_lora_adapter_metadata: peft's configuration as a table.
        """
        super().save_lora_weights(
            save_directory,
            transformer_lora_layers=dict(transformer_lora_layers),  # pyright: ignore[reportArgumentType]
            transformer_lora_adapter_metadata=transformer_lora_adapter_metadata,
        )
        save_file(dict(image_projections), Path(save_directory) / PROJECTIONS_FILE)

    def load_lora_weights(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        pretrained_model_name_or_path_or_dict: str | Path | dict[str, Tensor],
        adapter_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """As in diffusers; image projections in the folder (or hub repository) take the place of the model's.

        Raises:
            InputError: no such folder or hub id.
            ValueError: image projections of another shape or name than the model's.
        """
        source: Any = pretrained_model_name_or_path_or_dict
        projections = None
        if not isinstance(source, dict):
            source = str(source)
            if not Path(source).exists():
                from huggingface_hub import snapshot_download

                source = snapshot_download(check_source(source), allow_patterns=["*.safetensors"])
            file = Path(source) / PROJECTIONS_FILE
            projections = load_file(file) if file.is_file() else None
        super().load_lora_weights(source, adapter_name, **kwargs)
        if projections is not None:
            own = {name: tensor.clone() for name, tensor in projections_of(self._state()).items()}
            self._put_projections(projections, str(source))
            self._own_projections = self._own_projections or own

    def unload_lora_weights(self) -> None:
        """Take LoRA weights out again, and put the model's own image projections back."""
        super().unload_lora_weights()
        if self._own_projections is not None:
            self._put_projections(self._own_projections, "the model's own")
            self._own_projections = None

    def _state(self) -> dict[str, Tensor]:
        return self.transformer.state_dict()

    def _put_projections(self, tensors: Mapping[str, Tensor], source: str) -> None:
        state = self._state()
        own = {name: tensor.shape for name, tensor in projections_of(state).items()}
        if own != {name: tensor.shape for name, tensor in tensors.items()}:
            raise ValueError(f"{source}: image projections do not fit this model's: {sorted(own)}")
        for name, tensor in tensors.items():
            state[name].copy_(tensor)
