"""`midas tune`: which settings forecast the validation part best, by Ray Tune."""
