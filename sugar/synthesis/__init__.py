"""From labelled photos to triplets: prompts, customised images, expansion, animation (SUGAR section 3.1)."""
