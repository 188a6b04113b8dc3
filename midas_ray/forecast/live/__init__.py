"""Forecasts as buckets close: history, model, record, scores."""
