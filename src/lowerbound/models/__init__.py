"""Models of p(x): each supplies its conditionals and nothing else."""
