"""Lines of work that need configs of the repository."""
