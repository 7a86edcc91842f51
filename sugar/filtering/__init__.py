"""Which triplets are good enough to learn from: scores, thresholds as data, a reason for every rejection."""
