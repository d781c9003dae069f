"""Models of p(x) fitted to the same rows and scored on the same others."""
