"""Classes of rows, learned from rows with a label and rows without."""
