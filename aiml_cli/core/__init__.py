"""One turn: a request is built, sent, judged and kept."""
