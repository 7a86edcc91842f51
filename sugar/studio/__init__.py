"""`sugar studio`: a page in the browser where a trained model makes videos."""

from sugar.studio.server import open_studio

__all__ = ["open_studio"]
