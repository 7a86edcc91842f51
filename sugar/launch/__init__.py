"""Launchers: how a training job becomes processes."""
