"""The transformer: selective attention and the image streams on top of CogVideoX."""
