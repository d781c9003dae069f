"""Files to arrays and frames."""
