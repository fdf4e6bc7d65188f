"""Training of pairs.

What trains pairs and CAR imports with torch and numpy alone, so that it runs on a bare machine with a GPU too; making
coded pieces (`coded_maker`, `clips`, `motion`), ESPCN and the step-by-step upscaler need more.
"""
