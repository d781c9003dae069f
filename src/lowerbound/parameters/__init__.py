"""What may be asked of an estimator; loads no torch."""
