"""From captioned clips to triplets: windows, identity images, captions (SUGAR section 3.2)."""
