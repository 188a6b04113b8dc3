"""Nothing sees the future: every stage once more with another future behind a cut, on the user's own data."""
