"""What there is to see of a fitted model, as plain data and as one HTML file."""
