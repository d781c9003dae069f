"""The names of the requests of the page."""

NAMES = (
    "overview", "map", "colors", "rows", "row", "selection", "decode", "prior", "samples", "continue", "pairs",
    "reconstruct", "traversals", "dimensions", "outliers", "gaps", "training", "estimates",
)  # fmt: skip
