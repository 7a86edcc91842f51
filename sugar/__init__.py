"""SUGAR: subject-driven video from one picture and one sentence, and the factory that trains it."""

__version__ = "0.1.0"
