"""Write a request as a program in another language."""
