"""Training of pairs.

Training of luma pairs and CAR needs only torch and numpy, so it also runs on a bare GPU machine. Making coded crops
(`coded_maker`, `clips`, `motion`), ESPCN and the progressive upscaler need more.
"""
