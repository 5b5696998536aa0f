"""Whether a picture shows another one again: a search in feature space, correlation, calibration on known copies."""
