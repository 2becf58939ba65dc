"""What lessons and the command line share."""
