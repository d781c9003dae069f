"""What a fitted model is for, each a few lines over prior, likelihood and posterior."""
