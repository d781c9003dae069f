"""How good a fitted model is: the lower bound, log p(x), and what stands between them."""
