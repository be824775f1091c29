"""Where notices of events are sent: one file a kind of target."""
