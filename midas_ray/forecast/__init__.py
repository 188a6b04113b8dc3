"""The Temporal Fusion Transformer: its inputs, training in one process or under Ray Train, forecasts, model folder."""
