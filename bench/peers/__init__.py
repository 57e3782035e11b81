"""What is measured: this system, and what it is compared with."""
