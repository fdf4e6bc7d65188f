"""What the commands do: a job planned, carried out and measured."""
