"""Models of sequences: several steps, each given those before it."""
