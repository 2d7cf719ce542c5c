"""What is read off the stored results of an experiment; one file per paper."""
