"""Tokenizers of the small text encoders: one token a word of Sprite World, pieces for every other word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sugar.sprites import vocabulary

# Nouns of ordinary photos: whole tokens too, and trained as "any subject" (see captions_with_new_nouns).
EXTRA_NOUNS = (
    "animal apple armchair axe bag ball balloon banana basket bee bench bicycle boat book bottle bowl "
    "box bracelet bread broom brush bucket bus cake camera can cap cartoon chair chicken coat cow "
    "crab crown deer dragon dress drum duck elephant figurine flower fox giraffe glasses globe glove "
    "goat guitar hammer hat helmet horse house jacket jar kettle key kite lion lizard man monkey "
    "monster motorcycle mouse mug octopus owl panda parrot pen penguin person phone piano pig pillow "
    "plane plant plate plushie pot puppet puppy shark sheep ship shirt shoe sloth snail sneaker sofa "
    "spider spoon squirrel statue suitcase sunglasses table tiger toy tractor tree truck umbrella "
    "vehicle violin watch whale wolf woman zebra block stuffed emoji"
).split()


def build_tokenizer(max_length: int, *, kind: str) -> Any:
    """A fast tokenizer with lower-casing. kind "t5": `</s>` at the end, pad 0; "clip": start and end tokens.

    For "clip" the end token has the highest number, as CLIP's own has; X-CLIP's text side finds the end so.

    Returns a `PreTrainedTokenizerFast` (both kinds load with `AutoTokenizer`).
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted(set(vocabulary()) | set(EXTRA_NOUNS))
    letters = sorted("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-")
    special = ["<pad>", "</s>", "<unk>", "<s>"]
    pieces = special + words + [c for c in letters if c not in words] + [f"##{c}" for c in letters]
    if kind == "clip":
        pieces = [piece for piece in pieces if piece != "</s>"] + ["</s>"]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="<unk>", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    single = "$A </s>" if kind == "t5" else "<s> $A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(token, vocab[token]) for token in special]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>",
        padding_side="right",
    )


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
