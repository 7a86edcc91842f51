"""Scores of generated videos, as the paper and VBench define them.

Every function takes NumPy arrays or torch tensors and returns plain floats and bools. They compare features
that `sugar.encoders` computes; which encoder made them is for the caller to record beside the score.
"""
