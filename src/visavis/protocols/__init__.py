"""Published protocols and a user's own data, run with models: what `visavis evaluate` and `visavis calibrate` do."""
