"""Replay: a log walked window by window, as scheduled retraining would have met it."""
