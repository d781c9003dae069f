"""Ways to q(z|x), and the objectives that fit it."""
