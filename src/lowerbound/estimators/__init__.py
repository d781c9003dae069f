"""The scikit-learn front: one file a family."""
