"""The question of every movie: does it save bits to code it small, with which pair, and at what quality?"""
