"""Video: cameras and files, frame by frame, to tracks, people, events and pictures."""
