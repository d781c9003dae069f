"""Networks and heads: features in, parameters of a distribution out."""
