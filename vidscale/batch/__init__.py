"""Many movies and many workers: chunks of a movie, their journal, the engines that run them."""
