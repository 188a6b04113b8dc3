"""`midas doctor`: what is looked at, one room for each kind, and what to do about it. No finding holds a secret."""
