"""The local page: an application on this machine alone, its guard, and what the browser runs."""
