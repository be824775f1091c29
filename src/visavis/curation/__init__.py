"""From raw photos and videos to data sets: faces cut out, cleaned, labeled and counted."""
