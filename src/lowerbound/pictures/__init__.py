"""Pictures of data and of codes."""
