"""The image that every component runs in; `SUGAR_IMAGE` names another one when a pipeline is compiled."""

import os

IMAGE = os.environ.get("SUGAR_IMAGE", "sugar:0.1.0")
