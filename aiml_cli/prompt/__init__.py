"""The next message: words, standard input and files, read and put together."""
