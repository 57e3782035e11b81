"""What is read from the operating system, each part by its own module. All of it may block; none of it raises."""
