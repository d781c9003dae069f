"""From a schema and parameters to a model and its posterior."""
