"""What cameras saw, as events: kept, sent, listed, and forgotten."""
