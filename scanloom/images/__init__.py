"""Series to images of integers, and integers to network inputs."""
