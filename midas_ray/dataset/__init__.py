"""From the feature table to windows a model can learn from: panel, columns, windows, splits, scaling. No Ray here."""
