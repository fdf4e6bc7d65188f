"""Folders of pictures: made small, restored, measured; and the comparison of methods that papers print."""
