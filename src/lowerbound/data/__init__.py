"""Files and frames to batches."""
