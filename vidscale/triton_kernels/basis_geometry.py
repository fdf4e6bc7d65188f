"""Where the taps of `basis_resample` lie, and the least that it divides by: what its versions share."""

import math
from fractions import Fraction

SMALLEST_SUM = 1e-6  # the sum of mixed taps is held at this or above before it divides


def first_taps(step: Fraction, siting: Fraction, support: int) -> list[int]:
    """Source sample under the first tap of the first output sample of each phase, along one axis; may be negative.

    `support` taps lie evenly around the position ``step * (i + siting) - siting``: in (-support / 2, support / 2].
    Output i has phase ``i mod P``, P the denominator, and lies ``step.numerator * (i // P)`` samples on.
    """
    positions = (step * (i + siting) - siting for i in range(step.denominator))
    return [math.floor(position - Fraction(support, 2)) + 1 for position in positions]
