"""Views of a fitted model, as plain data and as one HTML file."""
