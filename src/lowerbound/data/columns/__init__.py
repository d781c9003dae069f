"""Tables with columns of several kinds: numbers, categories, dates."""
