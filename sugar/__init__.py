"""SUGAR: subject-driven video from one picture and one sentence, and the factory that trains it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sugar.pipeline import SugarPipeline

__version__ = "0.1.0"

__all__ = ["SugarPipeline", "__version__"]


def __getattr__(name: str) -> object:
    """`SugarPipeline`, imported when it is asked for: `import sugar` stays fast."""
    if name == "SugarPipeline":
        from sugar.pipeline import SugarPipeline

        return SugarPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
