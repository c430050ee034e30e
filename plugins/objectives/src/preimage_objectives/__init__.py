"""What makes a prompt good: how near its text comes to pictures, and to other texts."""

__version__ = "0.1.0"
