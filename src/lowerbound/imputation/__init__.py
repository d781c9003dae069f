"""Missing values, filled by a stack of models."""
