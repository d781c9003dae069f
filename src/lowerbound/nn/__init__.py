"""Networks, and heads that turn their outputs into distributions."""
