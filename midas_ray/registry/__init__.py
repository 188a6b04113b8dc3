"""A plain registry of trained models: folders under MODEL_DIR, a pointer to the promoted one, who promoted what."""
