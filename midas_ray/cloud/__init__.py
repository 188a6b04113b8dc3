"""GPU nodes rented from Vast.ai for Ray's autoscaler: offers, instances, the SSH mesh between nodes, and the costs."""
