"""Training: strategies as data, one loop, a DeepSpeed engine, checkpoints that survive.

Start at `trainer.train`: it takes a `TrainingJob` and two callables, and leaves a `from_pretrained` folder.
"""
