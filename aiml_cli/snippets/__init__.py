"""A request written as a program in another language."""
