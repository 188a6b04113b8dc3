"""The 72 features a second time: a slow implementation written from the specification alone, by another hand."""
