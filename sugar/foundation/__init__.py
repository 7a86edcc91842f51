"""Training of the small pretrained networks of Sprite World (`sugar foundation`).

The default run starts where the paper starts: from a pretrained text-to-video model and pretrained
encoders. These modules make them, as small networks of the very classes that production uses.
"""
