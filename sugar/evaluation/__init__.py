"""The benchmark, its scores and the report (SUGAR section 4)."""
